"""The text of a file as a stream: decompressed, and in UTF-8 whatever its encoding."""

from __future__ import annotations

import codecs
import encodings.utf_16
import encodings.utf_32  # noqa: F401 - a confined process cannot load an encoding when it meets one
import gzip
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from typing import Any, Protocol, TextIO

import pyarrow as pa

_GZIP = b"\x1f\x8b"
#: Compressions that Arrow reads, by the first bytes of a file.
_COMPRESSIONS = {b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2", b"\x04\x22\x4d\x18": "lz4"}
#: The first that fits counts: a mark of UTF-32 begins like one of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_LONGEST_MAGIC = 4
_RUN, _EDGE = re.compile(rb" {2,}"), re.compile(rb"(?<=[\r\n]) | (?=[\r\n])")
_LINE_BREAK = re.compile(rb"\r\n|\r|\n")
#: The most bytes of UTF-8 for a byte of another encoding.
_GROWTH = 3


class Opens(Protocol):
    """A file that can be opened again and again."""

    def open(self) -> BufferedReader:
        """Return an independent reader at the beginning. Raises OSError."""


def decompressed(raw: BufferedReader) -> Any:
    """Return a reader of the content, whatever it is compressed with, if that can be read."""
    head = raw.peek(_LONGEST_MAGIC)
    if head.startswith(_GZIP):
        # Python's reader, unlike Arrow's, allows zeros after the end, with which tapes and some copies fill a file up.
        return gzip.GzipFile(fileobj=raw)
    for magic, compression in _COMPRESSIONS.items():
        if head.startswith(magic):
            return pa.input_stream(raw, compression=compression)
    return raw


def first_bytes(file: Opens, count: int) -> bytes:
    """Return the beginning of a file's content. Raises the errors of reading and decompressing."""
    with file.open() as raw:
        return bytes(decompressed(raw).read(count))


def marked_encoding(head: bytes) -> str | None:
    """Return the encoding that a byte order mark declares, if it is not UTF-8."""
    return next((encoding for mark, encoding in _MARKS.items() if head.startswith(mark)), None)


@contextmanager
def opened_text(file: Opens, encoding: str, skipped: int = 0) -> Iterator[TextIO]:
    """Open a file's content as text with its line breaks as they are, without a byte order mark and skipped lines."""
    with file.open() as raw, text_of(raw, encoding, skipped) as text:
        yield text


def text_of(raw: BufferedReader, encoding: str, skipped: int) -> TextIO:
    """Return a reader of the content of an open file, as :func:`opened_text` does."""
    source = io.BufferedReader(Readable(decompressed(raw)))
    text = io.TextIOWrapper(source, encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="")
    for _ in range(skipped):
        text.readline()
    return text


def utf8_chunks(
    source: Any,
    encoding: str,
    size: int,
    *,
    skipped: int = 0,
    renamed: tuple[str, str] | None = None,
    squeezed: bool = False,
) -> Iterator[bytes]:
    """Yield content without its first lines as valid UTF-8, in chunks of at most ``size`` bytes.

    renamed: text to replace, and by what; what is held back for it is added to the next chunk. squeezed: whether runs
    of blanks become one, and those at the ends of lines none. Raises UnicodeDecodeError, and the errors of reading and
    decompressing.
    """
    chunks = _transcoded(source, encoding, size if encoding == "utf-8" else size // _GROWTH)
    if skipped:
        chunks = _without_lines(chunks, skipped)
    if squeezed:
        return _squeezed(chunks)
    return chunks if renamed is None else _replaced(chunks, *(text.encode() for text in renamed))


def undecodable_line(file: Opens, encoding: str) -> int | None:
    """Return the first line that is not valid in an encoding whose line breaks are those of ASCII."""
    if encoding.startswith(("utf-16", "utf-32")):
        return None
    with file.open() as raw:
        for number, line in enumerate(io.BufferedReader(Readable(decompressed(raw))), 1):
            try:
                line.decode(encoding)
            except UnicodeDecodeError:
                return number
    return None


def _transcoded(source: Any, encoding: str, size: int) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    here = source.read(size)
    while here:
        ahead = source.read(size)
        text = decoder.decode(here, final=not ahead)
        yield here if encoding == "utf-8" else text.encode()
        here = ahead


def _without_lines(chunks: Iterator[bytes], count: int) -> Iterator[bytes]:
    start = b""
    for chunk in chunks:
        start += chunk
        lines = _LINE_BREAK.split(start, count)
        if len(lines) > count:
            yield from filter(None, lines[-1:])  # a reader would take an empty chunk for the end
            break
    yield from chunks


def _squeezed(chunks: Iterator[bytes]) -> Iterator[bytes]:
    held, begins = b"", True
    for chunk in chunks:
        text = _EDGE.sub(b"", _RUN.sub(b" ", held + chunk))
        if begins:
            text = text.removeprefix(b" ")
        held = text[-1:] if text.endswith(b" ") else b""
        text = text.removesuffix(b" ")
        if text:
            begins = text.endswith((b"\n", b"\r"))
            yield text


def _replaced(chunks: Iterator[bytes], old: bytes, new: bytes) -> Iterator[bytes]:
    """Replace every occurrence, even one that is cut by the end of a chunk."""
    held = b""
    for chunk in chunks:
        found = (held + chunk).replace(old, new)
        cut = next(length for length in reversed(range(len(old))) if found.endswith(old[:length]))
        held = found[len(found) - cut :]
        yield found[: len(found) - cut]
    yield held


class Sealed(io.RawIOBase):
    """The chunks of a text, followed by a seal; Arrow reads them in its own thread.

    Arrow ignores an unclosed quote: the field continues to the end, and so over the seal.
    """

    def __init__(self, chunks: Iterator[bytes], seal: str) -> None:
        self._chunks = self._sealed(chunks, b"\n" + seal.encode())

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, _size: int = -1) -> bytes:  # pragma: no cover - coverage is not measured in Arrow's thread
        """Return the next chunk, empty at the end."""
        # Arrow requests a block each time, and a chunk is at most that.
        return next(self._chunks, b"")

    def _sealed(self, chunks: Iterator[bytes], seal: bytes) -> Iterator[bytes]:  # pragma: no cover - as above
        here = next(chunks, b"")
        for ahead in chunks:
            yield here
            here = ahead
        yield here + seal


class Readable(io.RawIOBase):
    """Makes a raw stream of anything with ``read``, which is not closed with it."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; return the number of bytes, 0 at the end."""
        content = self._source.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)
