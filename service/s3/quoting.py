"""Quotations of what others wrote: short, on one line, and harmless to logs and terminals."""

from __future__ import annotations

_LONGEST = 200


def quoted(text: str, longest: int = _LONGEST) -> str:
    """Return text with escapes for whatever is not printable, and an ellipsis for what is too long."""
    escaped = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text[: longest + 1])
    return escaped if len(escaped) <= longest else escaped[: longest - 1] + "…"
