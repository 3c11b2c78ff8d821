"""Text from files and clients, made safe to show: on one line, without control characters, and not endless.

What a message quotes from a file is marked, so that the log can show it and answers to clients cannot.
"""

from __future__ import annotations

import encodings.utf_16_be  # noqa: F401 - a confined child cannot import the encoding when it escapes a character
import re
import unicodedata

#: The most characters of a message.
LONGEST = 2000
#: The most characters of a quotation.
_LONGEST_QUOTATION = 80
# Around a quotation: two code points that Unicode reserves for use within a program.
_START, _END = "\ufdd0", "\ufdd1"
_QUOTATION = re.compile(f"{_START}([^{_END}]*){_END}?")


def escaped(text: str) -> str:
    """Return text with an escape of JSON, a backslash and a number, for everything that is not printable.

    That is control characters, line breaks, invisible characters, and the bytes of a path that are not UTF-8.
    """
    return text if text.isprintable() else "".join(map(_escape, text))


def quote(text: str) -> str:
    """Return the beginning of a text from a file, marked as such."""
    return f"{_START}{escaped(text[:_LONGEST_QUOTATION])}{'…' if len(text) > _LONGEST_QUOTATION else ''}{_END}"


def sentence(marked: str) -> str:
    """Return a message as it may be stored and sent: safe to show, and with its marks."""
    parts = _QUOTATION.split(marked)
    parts[::2] = map(escaped, parts[::2])
    parts[1::2] = (f"{_START}{escaped(part)}{_END}" for part in parts[1::2])
    safe = "".join(parts)
    return safe if len(safe) <= LONGEST else safe[: LONGEST - 1] + "…"


def with_quotations(marked: str) -> str:
    """Return a message for the log."""
    return _QUOTATION.sub(r"\1", sentence(marked))


def without_quotations(marked: str) -> str:
    """Return a message for clients, who must not see what is in a file."""
    return _QUOTATION.sub("…", sentence(marked))


def _escape(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":  # spaces of any width
        return character
    code = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{code[start : start + 4]}" for start in range(0, len(code), 4))
