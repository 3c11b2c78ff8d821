"""A server that answers like S3, STS or something else on their port, as a test tells it: odd on purpose.

The answers of a real store are tested with SeaweedFS; this one gives those that no store can be brought to give.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

STAMP = "Sat, 31 Jan 2026 02:15:00 GMT"
#: The headers that S3 sends for every object.
OBJECT = {"ETag": '"1"', "Last-Modified": STAMP, "Content-Type": "application/octet-stream"}


def reply(status: int, body: bytes | str = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """Return an HTTP response, of XML unless the headers say otherwise."""
    content = body.encode() if isinstance(body, str) else body
    fields = {"Content-Type": "application/xml", "Content-Length": str(len(content))} | dict(headers or {})
    lines = [f"HTTP/1.1 {status} Odd", *(f"{name}: {value}" for name, value in fields.items()), "Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode() + content


def error(status: int, code: str, more: str = "", headers: Mapping[str, str] | None = None) -> bytes:
    """Return S3's answer to a request that it refuses."""
    return reply(status, f"<Error><Code>{code}</Code>{more}</Error>", headers)


def refused(status: int, code: str) -> bytes:
    """Return STS's answer to a request that it refuses."""
    body = f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>No.</Message></Error></ErrorResponse>"
    return reply(status, body, {"Content-Type": "text/xml"})


def html(status: int, words: str = "Sign in", headers: Mapping[str, str] | None = None) -> bytes:
    """Return a page."""
    page = f"<html>\r\n<head><title>{words}</title></head>\r\n<body><hr>{words}</body>\r\n</html>"
    return reply(status, page, {"Content-Type": "text/html"} | dict(headers or {}))


def listing(*entries: str, more: str = "<IsTruncated>false</IsTruncated>") -> bytes:
    """Return the list of a prefix, with these elements in its entries."""
    contents = "".join(f"<Contents>{entry}</Contents>" for entry in entries)
    return reply(200, f"<ListBucketResult>{more}{contents}</ListBucketResult>")


def entry(key: str = "models/als_model_1.npz", modified: str = "2026-01-31T02:15:00.000Z", size: str = "7") -> str:
    """Return what a list says of one object."""
    return f"<Key>{key}</Key><LastModified>{modified}</LastModified><ETag>&quot;1&quot;</ETag><Size>{size}</Size>"


@dataclass
class OddStore:
    """The answers by patterns of a request's first line (the first match counts; None closes), and the heads seen."""

    answers: dict[str, bytes | None] = field(default_factory=dict)
    heads: list[str] = field(default_factory=list)
    endpoint: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.heads.append(head)
            if "100-continue" in head.lower():
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            length = re.search(r"(?i)content-length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
            line = head.partition("\r\n")[0]
            answer = next((answer for match, answer in self.answers.items() if re.search(match, line)), None)
            if answer and line.startswith("HEAD"):
                answer = answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            writer.write(answer or b"")
            await writer.drain()
        writer.close()


@asynccontextmanager
async def odd_store(answers: Mapping[str, bytes | None] | None = None) -> AsyncIterator[OddStore]:
    """Run an odd store for the length of a block."""
    store = OddStore(dict(answers or {}))
    server = await asyncio.start_server(store.serve, "127.0.0.1", 0)
    store.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield store
    finally:
        server.close()
        await server.wait_closed()
