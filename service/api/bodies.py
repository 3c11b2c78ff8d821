"""Request bodies: limits of size and time, and decoding.

A body needs ``Content-Type: application/json``. A missing type is refused too, so that a form sent by a browser or curl
is never mistaken for JSON.
"""

from __future__ import annotations

import asyncio
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from typing import TypeVar

import msgspec
from aiohttp import ClientError, HttpVersion11, hdrs, web

from service.api.context import Context
from service.errors import (
    BadBodyError,
    BodyTooLargeError,
    InvalidBodyError,
    RequestTimeoutError,
    UnsupportedMediaTypeError,
)

MAX_BYTES = 2**20

Body = TypeVar("Body", bound=msgspec.Struct)


async def read_body(
    request: web.BaseRequest, decoder: msgspec.json.Decoder[Body], context: Context, example: Body
) -> Body:
    """Read and decode a JSON body, which must arrive in time; the error for one of another shape shows the example.

    Raises UnsupportedMediaTypeError, BodyTooLargeError, RequestTimeoutError, BadBodyError, InvalidBodyError.
    """
    if request.content_type != "application/json":
        raise UnsupportedMediaTypeError(
            "The body must be JSON; send it with the header Content-Type: application/json."
        )
    raw = (await _in_time(request, context)).removeprefix(BOM_UTF8)  # which RFC 8259, section 8.1, lets parsers ignore
    if raw.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        raise BadBodyError("The body is not JSON: it is UTF-16; send it as UTF-8.")
    try:
        return _decode(raw, decoder)
    except msgspec.ValidationError as error:
        raise InvalidBodyError(f"The body is invalid: {error}.{_hint(str(error), example)}") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise BadBodyError(f"The body is not JSON: {error}.") from None


def _hint(wrong: str, example: Body) -> str:
    """Show the right form, unless the wrong one only has a value beyond a limit, which the sentence names."""
    if not wrong.startswith("Object ") and ", got `" not in wrong:
        return ""
    fields = msgspec.structs.fields(example)
    said = {field.name: getattr(example, field.name) for field in fields if not _is_default(field, example)}
    return f" For example, {msgspec.json.encode(said).decode()} is valid."


def _is_default(field: msgspec.structs.FieldInfo, example: msgspec.Struct) -> bool:
    factory = field.default_factory
    return bool(getattr(example, field.name) == (factory() if callable(factory) else field.default))


def _decode(raw: bytes, decoder: msgspec.json.Decoder[Body]) -> Body:
    """Decode a body; a number such as 1.0 is an integer, as JSON Schema has it."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        if "got `float`" not in str(error):
            raise
        try:
            converted: Body = msgspec.convert(_INTEGRAL.decode(raw), decoder.type)
        except RecursionError:  # the rest is nested without end
            raise error from None
        return converted


def _integral(text: str) -> float:
    number = float(text)
    return int(number) if number.is_integer() else number


_INTEGRAL = msgspec.json.Decoder(float_hook=_integral)


async def _in_time(request: web.BaseRequest, context: Context) -> bytes:
    busy, seconds = context.lifecycle.busy, context.limits.body_seconds
    busy.discard(request.protocol)  # now the server waits for the client
    try:
        async with asyncio.timeout(seconds):
            await _invite(request)
            return await _whole(request)
    except TimeoutError:
        raise RequestTimeoutError(f"The body did not arrive within {seconds:g} seconds; send it faster.") from None
    finally:
        busy.add(request.protocol)


async def _invite(request: web.BaseRequest) -> None:
    """Ask for the body if the client waits for that, as curl does before it sends a large one (RFC 9110, 10.1.1)."""
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _whole(request: web.BaseRequest) -> bytes:
    body = bytearray()
    try:
        while chunk := await request.content.readany():
            body += chunk
            if len(body) > MAX_BYTES:
                raise BodyTooLargeError(f"The body is larger than {MAX_BYTES} bytes; send less at once.")
    except (ClientError, web.RequestPayloadError, ConnectionError):
        raise BadBodyError("The body was cut short; send it again.") from None
    return bytes(body)
