"""The reader of npz archives: our own, or those that implicit's ``model.save`` writes. Nothing is unpickled."""

from __future__ import annotations

import errno
import os
import struct
import tokenize
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from service.errors import BadDtypeError, BadShapeError, CorruptFileError, UnknownFormatError
from service.model.formats import arrays
from service.model.raw import RawModel, RawSeen
from service.untrusted import quote

_FACTORS = ("user_factors", "item_factors")
_SEEN = ("seen_indptr", "seen_indices", "seen_weights")
_POPULARITY = ("user_ids", "item_ids", *_SEEN[:2])
_READ = (
    *(*_FACTORS, "user_ids", "item_ids", *_SEEN, "item_weights", "regularization", "alpha"),
    *("activity_discount", "training_facts", "popularity_only"),
)
#: Other members that implicit saves; accepted but never read.
_SKIPPED = (
    *("factors", "num_threads", "iterations", "use_native", "use_cg", "cg_steps"),
    *("calculate_training_loss", "dtype", "random_state"),
)
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ENCRYPTED = 1
#: The beginning and the length of the last record of an archive without a comment.
_END, _END_BYTES = b"PK\x05\x06", 22
#: The errors that zipfile, zlib and NumPy's header reader raise for foreign bytes.
_DAMAGES = (
    *(zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError, SyntaxError),
    *(EOFError, ValueError, NotImplementedError, RuntimeError),
)
_CHUNK = 2**20

_Archived = dict[str, NDArray[Any]]


def read(file: BinaryIO) -> RawModel:
    """Read the known arrays, each checked against its header before memory is allocated.

    Raises CorruptFileError, UnknownFormatError, BadDtypeError, BadShapeError, BadIdsError; MemoryError at the machine's
    or a set limit.
    """
    with _damage_explained(), zipfile.ZipFile(file) as archive:
        _nothing_around(archive, file)
        members = _members(archive)
        archived = {name: _array(archive, members[name]) for name in _READ if name in members}
    return _model(archived)


@contextmanager
def _damage_explained() -> Iterator[None]:
    try:
        yield
    except (*_DAMAGES, OSError) as error:
        # An impossible seek is the archive's fault, any other OSError the disk's.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise CorruptFileError("The npz archive is damaged or cut short; copy it again, whole.") from error


def _nothing_around(archive: zipfile.ZipFile, file: BinaryIO) -> None:
    """Refuse bytes before and after the archive, which another reader could take for the content."""
    file.seek(-_END_BYTES, os.SEEK_END)
    starts_at_0 = not archive.filelist or min(member.header_offset for member in archive.filelist) <= 0
    if not starts_at_0 or archive.comment or not file.read().startswith(_END):
        raise CorruptFileError("The npz archive has bytes before its beginning or after its end; save the model again.")


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the members by array name. Raises CorruptFileError, UnknownFormatError."""
    listed = archive.infolist()
    if listed and not any(member.filename.endswith(".npy") for member in listed):
        raise UnknownFormatError(
            f"The file is a zip archive with {quote(listed[0].filename)}, not an npz; save arrays with np.savez."
        )
    counts = Counter(member.filename.removesuffix(".npy") for member in listed)
    unknown = [name for name in counts if name not in {*_READ, *_SKIPPED}]
    if unknown:
        raise CorruptFileError(
            f"The npz archive has {_listed(unknown)}, which a model does not need; allowed are {', '.join(_READ)} "
            "and what model.save of implicit's AlternatingLeastSquares writes."
        )
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise CorruptFileError(f"The npz archive has {_listed(twice)} more than once; save the model again.")
    return {member.filename.removesuffix(".npy"): member for member in listed}


def _listed(names: list[str]) -> str:
    return quote(", ".join(names))


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    name = member.filename.removesuffix(".npy")
    if member.flag_bits & _ENCRYPTED or member.compress_type not in _METHODS:
        raise CorruptFileError(f"{name} is encrypted or compressed in a way NumPy does not write; use np.savez.")
    with archive.open(member) as stream:
        shape, fortran, dtype = _header(name, stream)
        size = arrays.byte_count(name, dtype, shape)
        if stream.tell() + size != member.file_size:
            raise CorruptFileError(
                f"{name} declares the shape {shape} of {dtype.name}, which takes {size} bytes, but has "
                f"{member.file_size - stream.tell()}; save the model again."
            )
        return arrays.build(name, dtype, shape, _content(name, stream, size), fortran=fortran)


def _header(name: str, stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    reader = readers.get(npy.read_magic(stream))
    if reader is None:
        raise CorruptFileError(f"{name} uses a version of npy that np.savez does not write for numbers or text.")
    shape, fortran, dtype = reader(stream)
    if dtype.hasobject:
        raise BadDtypeError(f"{name} is an array of Python objects; convert it to an array of numbers or text.")
    return shape, fortran, arrays.plain_dtype(name, dtype.str[1:], dtype.str[0])


def _content(name: str, stream: IO[bytes], size: int) -> bytearray:
    """Read exactly ``size`` bytes; memory is allocated as they arrive, however many the header promises."""
    content = bytearray()
    while len(content) < size:
        chunk = stream.read(min(_CHUNK, size - len(content)))
        if not chunk:
            raise CorruptFileError(f"{name} ends after {len(content)} of {size} bytes; save the model again.")
        content += chunk
    return content


def _model(archived: _Archived) -> RawModel:
    return RawModel(
        user_factors=archived.get("user_factors"),
        item_factors=archived.get("item_factors"),
        user_ids=_ids(archived, "user_ids"),
        item_ids=_ids(archived, "item_ids"),
        seen=_seen(archived),
        item_weights=archived.get("item_weights"),
        activity_discount=_single(archived, "activity_discount"),
        regularization=_single(archived, "regularization"),
        alpha=_single(archived, "alpha"),
        training_facts=_single(archived, "training_facts"),
        popularity_only=_single(archived, "popularity_only") is True,
        missing=_missing(archived),
    )


def _missing(archived: _Archived) -> tuple[str, ...]:
    if _single(archived, "popularity_only") is True:
        return tuple(name for name in _POPULARITY if name not in archived)
    with_seen = _SEEN[:2] if any(name in archived for name in _SEEN) else ()
    return tuple(name for name in (*_FACTORS, *with_seen) if name not in archived)


def _ids(archived: _Archived, name: str) -> NDArray[Any] | None:
    return arrays.ids(name, archived[name]) if name in archived else None


def _seen(archived: _Archived) -> RawSeen | None:
    if not any(name in archived for name in _SEEN):
        return None
    indptr, indices, weights = (archived.get(name) for name in _SEEN)
    return RawSeen("csr", None, weights, indptr=indptr, indices=indices)


def _single(archived: _Archived, name: str) -> object | None:
    if name not in archived:
        return None
    array = archived[name]
    if array.shape != ():
        raise BadShapeError(f"{name} has the shape {array.shape}; it must be a single value.")
    value: object = array.item()
    return value
