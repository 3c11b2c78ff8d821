"""Responses that are sent whole: head and body in one write.

aiohttp's own responses may be streamed, compressed or chunked, and pay for that with a dozen calls and 10 µs each.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from time import time
from typing import Final

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter

#: The name that answers give; it says nothing of versions.
SERVER: Final = "als-serve"
#: No browser guesses that an answer is of another type, such as a script.
NO_SNIFFING: Final = {"X-Content-Type-Options": "nosniff"}
_NO_SNIFFING_LINE = "".join(f"{name}: {value}\r\n" for name, value in NO_SNIFFING.items())


class WholeResponse(web.StreamResponse):
    """A response with a complete body.

    ``headers`` are sent besides Content-Type, Content-Length, Date, Server and NO_SNIFFING. Their values must come from
    this server: they are sent as they are.
    """

    def __init__(self, body: bytes, content_type: str, *, status: int = 200, headers: Mapping[str, str] | None = None):
        super().__init__(status=status, headers=headers)
        self.body = body
        self._fixed = _fixed_lines(status, content_type)
        self._keeps_open: bool | None = None
        self._request: web.BaseRequest | None = None

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection stays open after this; None until that is decided."""
        return self._keeps_open

    def force_close(self) -> None:
        """Close the connection after this response."""
        self._keeps_open = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Begin: decide whether the connection stays open, since the rest is sent at the end."""
        self._request = request
        if self._keeps_open is None:
            self._keeps_open = request.keep_alive
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Send the response. Raises ConnectionError if the client is gone."""
        request = self._request
        assert request
        more = "".join([f"{name}: {value}\r\n" for name, value in self.headers.items()])
        head = f"{self._fixed}{_date_line(int(time()))}{more}{self._connection(request)}"
        head = f"{head}Content-Length: {len(self.body)}\r\n\r\n"
        await request.writer.write(head.encode() + self.body if request.method != hdrs.METH_HEAD else head.encode())
        await request.writer.drain()

    def _connection(self, request: web.BaseRequest) -> str:
        """Return the header line that says what the protocol's version alone does not."""
        if (request.version >= HttpVersion11) == self._keeps_open:
            return ""
        return "Connection: keep-alive\r\n" if self._keeps_open else "Connection: close\r\n"


@lru_cache
def _fixed_lines(status: int, content_type: str) -> str:
    first = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nServer: {SERVER}\r\nContent-Type: {content_type}\r\n"
    return first + _NO_SNIFFING_LINE


@lru_cache(maxsize=1)
def _date_line(second: int) -> str:
    return f"Date: {formatdate(second, usegmt=True)}\r\n"
