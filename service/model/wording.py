"""Words for sentences about untrusted content: short, printable, and never the content's own doing."""

from __future__ import annotations

import reprlib

_LONGEST = 80


def shown(text: str) -> str:
    """Make text of an untrusted source fit to print: one line, at most 80 characters."""
    cut = text[:_LONGEST] + ("…" if len(text) > _LONGEST else "")
    return "".join(character if character.isprintable() else "?" for character in cut)


def kind(value: object) -> str:
    """Name what a value is, with its article; the value itself is never printed, it could be made to explode."""
    name = "None" if value is None else type(value).__name__
    return name if value is None else f"{'an' if name[0].lower() in 'aeio' else 'a'} {name}"


def quoted(value: object) -> str:
    """Quote the beginning of a value that may be of any size, numbers of more digits than Python prints included."""
    try:
        return shown(reprlib.repr(value))
    except ValueError:  # sys.set_int_max_str_digits
        return "a number of thousands of digits"
