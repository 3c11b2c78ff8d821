"""Readers of model files that nobody vouches for; the format is recognized by content, never by a name's ending."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import BinaryIO

from service.errors import UnknownFormatError, UnreadableSourceError
from service.model.factors import RawModel
from service.model.formats.npz import read_npz
from service.model.formats.pickle import read_pickle
from service.model.source import unreadable
from service.model.wording import shown

_HEAD = 1024
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
#: Protocol 2 and later; a dict or list of protocols 0 and 1; a class by its name, of protocols 0 and 1.
_PICKLE = re.compile(rb"\x80[\x02-\xff]|[(}\]]|c[\w.]+\n[\w.]+\n")
_COMPRESSED = "is compressed with {}: decompress it first"
_OTHERS = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), what)
    for pattern, what in (
        (rb"\x1f\x8b", _COMPRESSED.format("gzip")),
        (rb"\x28\xb5\x2f\xfd", _COMPRESSED.format("zstd")),
        (rb"BZh[1-9]", _COMPRESSED.format("bzip2")),
        (rb"\xfd7zXZ\x00", _COMPRESSED.format("xz")),
        (rb"\x04\x22\x4d\x18", _COMPRESSED.format("lz4")),
        (rb"\x78[\x01\x5e\x9c\xda]|ZF0x", "is compressed by joblib: write it with pickle.dump instead"),
        (rb"\x93NUMPY", "is a single NumPy array: save user_factors and item_factors together with np.savez"),
        (rb"PAR1", "is a Parquet file: save the factors with np.savez"),
        (rb"\x89HDF", "is an HDF5 file: save the factors with np.savez"),
        (rb"version https://git-lfs", "is a pointer of Git LFS, not the model: fetch the file with git lfs pull"),
        (
            rb"\s*<(!doctype html|html|head|body)\b",
            "looks like an HTML page, perhaps an error page that was downloaded instead of the model",
        ),
        (
            rb"\s*<.{0,500}<Code>(?P<code>\w{1,80})</Code>",
            "is an error answer of S3 ({code}) that was downloaded instead of the model",
        ),
        (rb"\s*<", "looks like XML, perhaps an error answer that was downloaded instead of the model"),
        (
            rb'\s*(\{\s*["}]|\[\s*[\[{"\d\]])',
            "looks like JSON, perhaps an error answer that was downloaded instead of the model",
        ),
    )
)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_WANTED = "a model is a pickled dict or an npz archive"


def read(path: Path, file: BinaryIO) -> RawModel:
    """Read a model from an open file that stands at its first byte; ``path`` is what messages call it.

    Raises UnreadableSourceError, OutOfResourcesError, UnknownFormatError and what the readers raise: CorruptFileError,
    UnsafePickleError, BadDtypeError, BadShapeError, BadIdsError, BadSeenMatrixError, MemoryError.
    """
    try:
        head = file.read(_HEAD)
        file.seek(0)
        if not head:
            raise UnreadableSourceError(f"{path} is empty (0 bytes).")
        return _read(head, file)
    except OSError as error:
        raise unreadable(path, error) from error


def format_of(path: Path) -> str:
    """Say which of the formats a file seems to have by its first bytes; "unrecognized" where it is none."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return "unrecognized"
    if head.startswith(_ZIP):
        return "npz"
    return "pickle" if _PICKLE.match(head) and not _other(head) else "unrecognized"


def _read(head: bytes, file: BinaryIO) -> RawModel:
    if head.startswith(_ZIP):
        return read_npz(file)
    other = _other(head)
    if other:
        raise UnknownFormatError(f"The file {other}; {_WANTED}.")
    if _PICKLE.match(head):
        return read_pickle(file)
    raise UnknownFormatError(f"The file {_unrecognized(head)}; {_WANTED}.")


def _other(head: bytes) -> str | None:
    for pattern, what in _OTHERS:
        found = pattern.match(head.removeprefix(codecs.BOM_UTF8))
        if found:
            return what.format(**{name: text.decode() for name, text in found.groupdict().items()})
    return None


def _unrecognized(head: bytes) -> str:
    if _CONTROL.search(head):
        return f"is of a kind we do not know (its first bytes are {head[:8].hex(' ')})"
    line = head.decode(errors="replace").strip().split("\n")[0]
    return f"is text that begins with “{shown(line)}”"
