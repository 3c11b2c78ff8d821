"""Quotations of what others wrote: short, on one line, and harmless to logs and terminals."""

from __future__ import annotations

from service.untrusted import escaped

_LONGEST = 200


def quoted(text: str, longest: int = _LONGEST) -> str:
    """Return the beginning of a text, with escapes for whatever is not printable."""
    return escaped(text if len(text) <= longest else text[:longest] + "…")
