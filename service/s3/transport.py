"""The HTTP transport of every AWS request: follows no redirects and reads no body without a limit."""

from __future__ import annotations

import re
from typing import Any

import aiohttp
from aiobotocore.httpsession import AIOHTTPSession
from botocore.exceptions import ConnectionClosedError

#: A thousand long keys with their markup, as S3 lists them, are a few MB.
_LARGEST_ANSWER = 8 * 2**20
_LARGEST_ERROR = 2**16
#: The statuses with which S3 redirects to another region.
_REGIONAL = (301, 302, 307)
_REGION = re.compile(r"[a-z0-9-]{1,40}", re.ASCII)


class RedirectedError(Exception):
    """The server redirected a request, and not to another region of S3."""


class OversizedError(Exception):
    """The body of an answer that is not an object is larger than S3 ever sends."""


class Transport(AIOHTTPSession):
    """Sends requests where they are addressed.

    botocore itself asks again in another region if S3 says so. aiohttp would follow any other redirect, to any host,
    with the session token.
    """

    async def _get_session(self, proxy_url: str | None) -> _Direct:
        return _Direct(await super()._get_session(proxy_url))  # type: ignore[misc] # the stubs lack it

    async def send(self, request: Any) -> Any:
        """Return the answer, with its body unless that is an object. Raises RedirectedError, OversizedError."""
        is_object, request.stream_output = request.stream_output, True  # so that the body is read here
        answer = await super().send(request)
        try:
            if 300 <= answer.status_code < 400 and answer.status_code != 304:
                _check_redirect(request.method, answer)
            if not is_object or answer.status_code >= 300:
                answer._content = await _body(answer)
        except BaseException as error:  # a cancellation, too, must close the connection
            answer.raw.close()
            if isinstance(error, aiohttp.ClientError | TimeoutError):
                raise ConnectionClosedError(endpoint_url=request.url, request=request, error=error) from error
            raise
        return answer


class _Direct:
    """A client session that follows no redirects."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def request(self, *args: Any, **options: Any) -> aiohttp.ClientResponse:
        return await self._session.request(*args, **options, allow_redirects=False)


def _check_redirect(method: str, answer: Any) -> None:
    """Raise RedirectedError unless S3 names another region, which it does at the latest when it is asked by HEAD."""
    region = answer.headers.get("x-amz-bucket-region")
    named = method != "HEAD" if region is None else _REGION.fullmatch(region)
    if answer.status_code not in _REGIONAL or not named:
        raise RedirectedError(answer.headers.get("location") or "without a location")


async def _body(answer: Any) -> bytes:
    limit = _LARGEST_ERROR if answer.status_code >= 300 else _LARGEST_ANSWER
    body = bytearray()
    async for piece in answer.raw.content.iter_any():
        body += piece
        if len(body) > limit:
            raise OversizedError(f"over {limit} bytes")
    return bytes(body)
