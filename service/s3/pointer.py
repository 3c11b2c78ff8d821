"""latest.json: which model of a prefix is the latest, what it must be, and what it is like."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from service.errors import BadPointerError
from service.s3.location import LATEST, Location

#: A pointer is a few hundred bytes; whatever is larger is something else.
LARGEST = 65_536
#: What msgspec raises for what it cannot read: damaged, no UTF-8, or nested without end.
MALFORMED = (msgspec.DecodeError, UnicodeError, RecursionError)


class Counts(msgspec.Struct, frozen=True):
    """How large a model is."""

    users: int
    items: int
    factors: int
    seen_pairs: int | None = None


class Pointer(msgspec.Struct, frozen=True, kw_only=True):
    """One published model: ``size`` in bytes, ``sha256`` in hex, ``metrics`` of its evaluation, such as ndcg@20.

    Only ``key``, ``sha256`` and ``size`` are needed to follow a pointer, so it is easily written by other means.
    """

    key: str
    version_id: str | None = None
    sha256: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    size: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    format: str = ""
    created_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    counts: Counts | None = None
    metrics: dict[str, float] | None = None


def decode_pointer(raw: bytes, place: Location) -> Pointer:
    """Read a pointer that stands at ``place``. Raises BadPointerError, also where it leads out of its prefix."""
    try:
        pointer = msgspec.json.decode(raw, type=Pointer)
    except MALFORMED as error:
        raise BadPointerError(f"{place} is no pointer to a model ({error}); publish a model, or remove it.") from None
    if not pointer.key.startswith(place.parent.key) or not _is_name(pointer.key.removeprefix(place.parent.key)):
        raise BadPointerError(f"{place} points to {pointer.key!r}, which is not beside it; publish or promote a model.")
    if pointer.created_at and not 2000 <= pointer.created_at.year < 2200:
        raise BadPointerError(f"{place} says {pointer.created_at}, when nothing was published; publish a model.")
    return pointer


def _is_name(name: str) -> bool:
    """Say whether this is the plain name of an object: who writes a pointer is not always who should."""
    return name not in ("", ".", "..", LATEST) and "/" not in name and name.isprintable()
