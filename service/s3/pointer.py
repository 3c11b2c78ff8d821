"""The pointers of a prefix: latest.json to its latest model, candidate.json to its candidate, with facts of each."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, TypeVar

import msgspec

from service.errors import BadPointerError
from service.s3.location import CANDIDATE, LATEST, Location

#: A pointer is a few hundred bytes; anything larger is something else.
LARGEST = 65_536
#: The errors of msgspec for damaged, non-UTF-8 or endlessly nested input.
MALFORMED = (msgspec.DecodeError, UnicodeError, RecursionError)


class Counts(msgspec.Struct, frozen=True):
    """The size of a model."""

    users: int
    items: int
    factors: int
    seen_pairs: int | None = None


class Pointer(msgspec.Struct, frozen=True, kw_only=True):
    """One published model: ``size`` in bytes, ``sha256`` in hex, ``metrics`` of its evaluation, such as ndcg@20.

    forced: the gates and metrics that were against publishing it.

    Only ``key``, ``sha256`` and ``size`` are needed to follow a pointer, so other tools can easily write one.
    """

    key: str
    version_id: str | None = None
    sha256: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    size: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    format: str = ""
    created_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    counts: Counts | None = None
    metrics: dict[str, float] | None = None
    forced: list[str] = []


class CandidatePointer(Pointer, frozen=True, kw_only=True):
    """A published model that is the candidate for ``percent`` of users.

    shadow: the share of requests that it answers in the background; None leaves that to each server's settings.
    """

    percent: Annotated[float, msgspec.Meta(ge=0, le=100)]
    shadow: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None


PointerT = TypeVar("PointerT", bound=Pointer)

pointer_decoder = msgspec.json.Decoder(Pointer)
candidate_decoder = msgspec.json.Decoder(CandidatePointer)


def decode_pointer(raw: bytes, place: Location, decoder: msgspec.json.Decoder[PointerT]) -> PointerT:
    """Parse a pointer found at ``place``. Raises BadPointerError, also if it leads out of its prefix."""
    try:
        pointer = decoder.decode(raw)
    except MALFORMED as error:
        raise BadPointerError(
            f"{place} is not a pointer to a model ({error}); publish a model, or remove it."
        ) from None
    if not pointer.key.startswith(place.parent.key) or not _is_name(pointer.key.removeprefix(place.parent.key)):
        raise BadPointerError(
            f"{place} points to {pointer.key[:200]!r}, which is not in the same prefix; publish or promote a model."
        )
    if pointer.created_at and not 2000 <= pointer.created_at.year < 2200:
        raise BadPointerError(f"{place} has an implausible created_at {pointer.created_at}; publish a model.")
    return pointer


def _is_name(name: str) -> bool:
    """Return whether this is a plain object name, because a pointer may be written by anyone."""
    return name not in ("", ".", "..", LATEST, CANDIDATE) and "/" not in name and name.isprintable()
