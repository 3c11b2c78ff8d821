"""Bodies of requests: their size, the time they may take, and their shape.

A body is sent as ``Content-Type: application/json``; none at all is refused like any other, so that a form that
a browser or curl sends by default is not taken for JSON by accident.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, TypeVar

import msgspec
from aiohttp import ClientError, web
from msgspec import UNSET, Meta, UnsetType

from service.api.parameters import MAX_IDS, Exclude, ExcludeSeen, N, Normalize, Offset, Titles, Unknown, n_range
from service.api.shared import SHARED
from service.errors import (
    BadBodyError,
    BodyTooLargeError,
    InvalidBodyError,
    RequestTimeoutError,
    UnsupportedMediaTypeError,
)
from service.model.factors import Id

MAX_BYTES = 2**20
#: Training data weighs by plays, purchases, minutes: far below this, and its square still is a float32.
MAX_WEIGHT = 1e6


class BatchBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Up to 1000 users, and options as in the query of one user's recommendations; users times n is up to 100,000."""

    users: Annotated[list[Id], Meta(max_length=MAX_IDS, description="Whom to recommend to.")]
    n: N | UnsetType = UNSET
    offset: Offset = 0
    exclude_seen: ExcludeSeen = True
    exclude: Exclude = msgspec.field(default_factory=list)
    fallback: Unknown | UnsetType = UNSET
    normalize: Normalize = False
    titles: Titles = False


class GivenItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An item that an anonymous user had, and how much it counts; a negative weight says it is not liked."""

    item_id: Id
    weight: Annotated[float, Meta(ge=-MAX_WEIGHT, le=MAX_WEIGHT)] = 1.0


class AnonymousBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """1 to 1000 items that someone had, and options; the weights of one that is named twice add up."""

    items: Annotated[list[GivenItem], Meta(min_length=1, max_length=MAX_IDS)]
    n: N | UnsetType = UNSET
    offset: Offset = 0
    exclude: Exclude = msgspec.field(default_factory=list)
    normalize: Normalize = False
    titles: Titles = False


Body = TypeVar("Body")


async def read_body(request: web.Request, decoder: msgspec.json.Decoder[Body], seconds: float) -> Body:
    """Read and decode a JSON body, which may take so many seconds to arrive.

    Raises UnsupportedMediaTypeError, BodyTooLargeError, RequestTimeoutError, BadBodyError, InvalidBodyError.
    """
    if request.content_type != "application/json":
        raise UnsupportedMediaTypeError(
            "The body must be JSON; send it with the header Content-Type: application/json."
        )
    raw = await _in_time(request, seconds)
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise InvalidBodyError(f"The body does not fit: {error}.") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise BadBodyError(f"The body is not JSON: {error}.") from None


def body_n(n: int | UnsetType, max_n: int) -> int:
    """Return how many entries a body asks for. Raises InvalidBodyError."""
    if n is UNSET:
        return n_range(max_n)["default"]
    if n > max_n:
        raise InvalidBodyError(f"The body does not fit: Expected `int` <= {max_n} - at `$.n`.")
    return n


async def _in_time(request: web.Request, seconds: float) -> bytes:
    busy = request.app[SHARED].lifecycle.busy
    busy.discard(request.protocol)  # it is the client who keeps us waiting
    try:
        async with asyncio.timeout(seconds):
            return await _whole(request)
    except TimeoutError:
        raise RequestTimeoutError(f"The body did not arrive within {seconds:g} seconds; send it faster.") from None
    finally:
        busy.add(request.protocol)


async def _whole(request: web.Request) -> bytes:
    body = bytearray()
    try:
        while chunk := await request.content.readany():
            body += chunk
            if len(body) > MAX_BYTES:
                raise BodyTooLargeError(f"The body is larger than {MAX_BYTES} bytes; send less at once.")
    except (ClientError, web.RequestPayloadError, ConnectionError):
        raise BadBodyError("The body did not arrive whole.") from None
    return bytes(body)
