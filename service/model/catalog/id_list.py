"""A list of ids: a text file with one id a line, as an array that may be mapped from disk.

Ids are found, trimmed and sorted as arrays of bytes: a million Python objects would stall everything else in a server.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.errors import BadListError
from service.files import sync_directory, synced
from service.model.ids import MAX_ID_BYTES
from service.model.storage.array_files import FileFacts, damaged, map_array, read_manifest, touch, write_array
from service.model.storage.source import Source

MANIFEST, IDS = "manifest.json", "ids.npy"
#: The largest file that is read, and the largest array that it may become: each id takes as much as the longest.
MOST_BYTES, _MOST_ARRAY_BYTES = 2**28, 2**30
_BLOCK = 2**20
_NEWLINE = ord("\n")
_IS_SPACE = np.isin(np.arange(256), list(b" \t\r\n\v\f"))


class IdListManifest(msgspec.Struct, frozen=True):
    """The list's source file, and the expected file of its array."""

    source: Source
    files: dict[str, FileFacts]


_manifest = msgspec.json.Decoder(IdListManifest)


@dataclass(frozen=True, slots=True, eq=False)
class IdList:
    """Ids of items or users: fixed-width bytes (UTF-8), ascending, without repeats; ``directory`` is where they are."""

    ids: NDArray[Any]
    directory: Path | None = None

    def __len__(self) -> int:
        return len(self.ids)


#: A list of nothing.
EMPTY = IdList(np.empty(0, "S1"))


def read_id_list(path: Path, file: BinaryIO) -> IdList:
    """Read a UTF-8 file with one id a line. Raises BadListError, which names it as ``path``.

    Blank lines and white space around an id are ignored. An empty file is an empty list.
    """
    parts, line = [np.empty(0, "S1")], 1
    for lines in _whole_lines(path, file):
        text = np.frombuffer(lines, np.uint8)
        parts.append(_trimmed(path, text, line))
        line += int(np.count_nonzero(text == _NEWLINE))
    count, width = sum(map(len, parts)), max(part.dtype.itemsize for part in parts)
    if count * width > _MOST_ARRAY_BYTES:
        raise BadListError(f"{path} has {count} ids of up to {width} bytes, too many for one list; remove some.")
    ids = np.empty(count, f"S{width}")
    np.concatenate(parts, out=ids)
    ids.sort()
    return IdList(ids[np.concatenate((np.ones(min(1, count), np.bool_), ids[1:] != ids[:-1]))])


def write_id_list(directory: Path, listed: IdList, source: Source) -> None:
    """Write a list into an empty directory, every file synced to disk. Raises OSError."""
    files = {IDS: write_array(directory, IDS, listed.ids)}
    with synced(directory / MANIFEST) as file:
        file.write(msgspec.json.encode(IdListManifest(source, files)))
    sync_directory(directory)


def open_id_list(directory: Path) -> IdList:
    """Map a list into memory and read every page once. Raises SnapshotDamagedError, OSError."""
    manifest = read_manifest(directory / MANIFEST, _manifest)
    if manifest.files.keys() != {IDS}:
        raise damaged(directory, f"does not have {IDS}")
    ids = map_array(directory / IDS, manifest.files[IDS])
    if ids.dtype.kind != "S" or ids.ndim != 1:
        raise damaged(directory, f"has {ids.dtype} {ids.shape}")
    if not (ids[1:] > ids[:-1]).all():
        raise damaged(directory / IDS, "does not ascend")
    touch(ids)
    return IdList(ids, directory)


def _whole_lines(path: Path, file: BinaryIO) -> Iterator[bytes]:
    """Yield the file in blocks that end with a line. Raises BadListError if it is too large, or not UTF-8."""
    decoder, rest, size = codecs.getincrementaldecoder("utf-8")(), b"", 0
    while block := file.read(_BLOCK):
        size += len(block)
        if size > MOST_BYTES:
            raise BadListError(f"{path} has more than {MOST_BYTES // 2**20} MB; it needs one id a line.")
        _decode(path, decoder, block)
        if size == len(block):
            block = block.removeprefix(codecs.BOM_UTF8)
        lines, newline, rest = (rest + block).rpartition(b"\n")
        if len(rest) > _BLOCK:
            raise BadListError(f"{path} has a line of more than {_BLOCK} bytes; it needs one id a line.")
        if newline:
            yield lines + newline
    _decode(path, decoder, b"")
    yield rest + b"\n"


def _decode(path: Path, decoder: codecs.IncrementalDecoder, block: bytes) -> None:
    """Check a block, or with an empty one the end. Raises BadListError."""
    try:
        decoder.decode(block, final=not block)
    except UnicodeDecodeError:
        raise BadListError(f"{path} is not UTF-8; save it as UTF-8 text with one id a line.") from None


def _trimmed(path: Path, text: NDArray[np.uint8], line: int) -> NDArray[Any]:
    """Return the ids in whole lines, the first of which has the number ``line``. Raises BadListError."""
    newlines, visible = np.flatnonzero(text == _NEWLINE), np.flatnonzero(~_IS_SPACE.take(text))
    first, after = visible.searchsorted(np.concatenate(([0], newlines[:-1]))), visible.searchsorted(newlines)
    filled = np.flatnonzero(first < after)
    starts, ends = visible.take(first[filled]), visible.take(after[filled] - 1) + 1
    lengths = ends - starts
    _refuse(path, line + filled[lengths > MAX_ID_BYTES], f"an id of more than {MAX_ID_BYTES} bytes")
    _refuse(path, line + newlines.searchsorted(np.flatnonzero(text == 0)), "a NUL byte")
    return _fixed_width(text, starts, ends)


def _fixed_width(text: NDArray[np.uint8], starts: NDArray[Any], ends: NDArray[Any]) -> NDArray[Any]:
    """Return the parts of a text from these starts to these ends, which ascend, as fixed-width bytes."""
    edges = np.zeros(len(text) + 1, np.int8)
    edges[starts], edges[ends] = 1, -1
    lengths = ends - starts
    width = int(lengths.max(initial=1))
    table = np.zeros((len(starts), width), np.uint8)
    table[np.arange(width) < lengths[:, np.newaxis]] = text[edges[:-1].cumsum(dtype=np.int8) > 0]
    return table.view(f"S{width}")[:, 0]


def _refuse(path: Path, lines: NDArray[Any], what: str) -> None:
    if len(lines):
        raise BadListError(f"{path}, line {lines[0]}: there is {what}; put one id on each line.")
