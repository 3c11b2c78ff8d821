"""The reader of npz archives: our own, or those that implicit's ``model.save`` writes. Nothing is unpickled."""

from __future__ import annotations

import difflib
import errno
import os
import struct
import tokenize
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from service.errors import BadDtypeError, BadShapeError, CorruptFileError, UnknownFormatError
from service.model.formats import arrays
from service.model.formats.pickle import load
from service.model.formats.standins import Array
from service.model.raw import RawIds, RawModel, RawSeen
from service.untrusted import quote

_FACTORS = ("user_factors", "item_factors")
_IDS = ("user_ids", "item_ids")
_SEEN = ("seen_indptr", "seen_indices", "seen_weights")
_POPULARITY = (*_IDS, *_SEEN[:2])
_READ = (
    *(*_FACTORS, *_IDS, *_SEEN, "item_weights", "regularization", "alpha"),
    *("activity_discount", "training_facts", "popularity_only"),
)
#: Other members that implicit saves; accepted but never read.
_SKIPPED = (
    *("factors", "num_threads", "iterations", "use_native", "use_cg", "cg_steps"),
    *("calculate_training_loss", "dtype", "random_state"),
)
#: An array that only another model saves.
_OTHER_MODELS = {"verify_negative_samples": "BayesianPersonalizedRanking", "neg_prop": "LogisticMatrixFactorization"}
_ENDING = ".npy"
#: How alike two names are of which one is taken for a misspelling of the other.
_MISSPELLED = 0.8
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

_Archived = dict[str, Any]


def read(file: BinaryIO, _keys: Mapping[str, str] | None = None) -> RawModel:
    """Read the known arrays, each checked against its header before memory is allocated; they have no other names.

    Raises CorruptFileError, UnknownFormatError, BadDtypeError, BadShapeError, BadIdsError; MemoryError at the machine's
    or a set limit.
    """
    with _damage_explained(), zipfile.ZipFile(file) as archive:
        _nothing_around(archive, file)
        members = _members(archive)
        archived = {name: _array(archive, members[name]) for name in _READ if name in members}
    raw = _model(archived)
    if raw.missing:
        raw.hint = f"; the archive has {_listed(list(members)) if members else 'nothing'}"
    return raw


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
    counts = Counter(member.filename.removesuffix(_ENDING) for member in listed)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise CorruptFileError(f"The npz archive has {_listed(twice)} more than once; save the model again.")
    _refuse_other_models(counts)
    unknown = [member.filename.removesuffix(_ENDING) for member in listed if not _may_be_there(member.filename)]
    if unknown:
        raise CorruptFileError(
            f"The npz archive has {_listed(unknown)}, which a model does not need and which could be a mistake for one "
            f"of {', '.join(_READ)}; leave it out."
        )
    return {member.filename.removesuffix(".npy"): member for member in listed}


def _refuse_other_models(names: Iterable[str]) -> None:
    """Refuse what other models of implicit save: their factors look alike, but mean something else."""
    for array, model in _OTHER_MODELS.items():
        if array in names:
            raise UnknownFormatError(
                f"The npz archive is of implicit's {model} (it has {array}); only AlternatingLeastSquares is served."
            )


def _may_be_there(member: str) -> bool:
    """Return whether an array is known, or another that is passed over: it must not be a misspelled one."""
    name, ending = member[: -len(_ENDING)], member[-len(_ENDING) :]
    known = name in {*_READ, *_SKIPPED}
    return ending == _ENDING and (known or not difflib.get_close_matches(name, _READ, n=1, cutoff=_MISSPELLED))


def _listed(names: list[str]) -> str:
    return quote(", ".join(names))


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any] | list[object]:
    name = member.filename.removesuffix(".npy")
    if member.flag_bits & _ENCRYPTED or member.compress_type not in _METHODS:
        raise CorruptFileError(f"{name} is encrypted or compressed in a way NumPy does not write; use np.savez.")
    with archive.open(member) as stream:
        shape, fortran, dtype = _header(name, stream)
        if dtype.hasobject:
            return _objects(name, shape, stream)
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
        if name not in _IDS or dtype != np.dtype(object):
            raise BadDtypeError(f"{name} is an array of Python objects; convert it to an array of numbers or text.")
        return shape, fortran, dtype
    return shape, fortran, arrays.plain_dtype(name, dtype.str[1:], dtype.str[0])


def _objects(name: str, shape: tuple[int, ...], stream: IO[bytes]) -> NDArray[Any] | list[object]:
    """Return ids that NumPy has pickled, as it does with those of a pandas Index; the pickle is read, not executed."""
    found = load(stream)
    if not isinstance(found, Array):
        raise CorruptFileError(f"{name} is not the array that its header declares; save the model again.")
    ids = found.ids(name)
    if len(shape) != 1 or len(ids) != shape[0]:
        raise CorruptFileError(
            f"{name} does not have the shape {shape} that its header declares; save the model again."
        )
    return ids


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


def _ids(archived: _Archived, name: str) -> RawIds | None:
    found = archived.get(name)
    return arrays.ids(name, found) if isinstance(found, np.ndarray) else found


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
