"""Request bodies: limits of size and time, and decoding.

A body needs ``Content-Type: application/json``. A missing type is refused too, so that a form sent by a browser or curl
is never mistaken for JSON.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

import msgspec
from aiohttp import ClientError, web

from service.api.context import CONTEXT
from service.errors import (
    BadBodyError,
    BodyTooLargeError,
    InvalidBodyError,
    RequestTimeoutError,
    UnsupportedMediaTypeError,
)

MAX_BYTES = 2**20

Body = TypeVar("Body")


async def read_body(request: web.Request, decoder: msgspec.json.Decoder[Body], seconds: float) -> Body:
    """Read and decode a JSON body, which must arrive within ``seconds``.

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
        raise InvalidBodyError(f"The body is invalid: {error}.") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise BadBodyError(f"The body is not JSON: {error}.") from None


async def _in_time(request: web.Request, seconds: float) -> bytes:
    busy = request.app[CONTEXT].lifecycle.busy
    busy.discard(request.protocol)  # now the server waits for the client
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
        raise BadBodyError("The body was cut short; send it again.") from None
    return bytes(body)
