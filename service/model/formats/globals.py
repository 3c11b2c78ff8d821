"""The stand-ins for the globals in a model's pickle, and the advice for all others.

A name is looked up as an exact (module, name) pair, without prefixes; a dotted name is just an unknown name.
"""

from __future__ import annotations

import codecs
import re

import numpy as np

from service.errors import UnsafePickleError
from service.model.formats.standins import (
    AlternatingLeastSquares,
    Array,
    CooMatrix,
    CscMatrix,
    CsrMatrix,
    Dtype,
    Function,
    Instance,
    Named,
    Opaque,
    Sealed,
    SparseMatrix,
    StandIn,
    UnexpectedError,
)
from service.untrusted import quote


def find(module: str, name: str) -> StandIn | Sealed:
    """Return the stand-in of one global. Raises UnsafePickleError for everything that a model does not need."""
    found = _TABLE.get((module, name))
    if found is None:
        full = f"{module}.{name}"
        raise UnsafePickleError(
            f"The pickle refers to {quote(full)}, which is not allowed, and nothing was executed; {_advice(full)}."
        )
    return found


def _advice(full: str) -> str:
    return next(advice for pattern, advice in _ADVICE if pattern.match(full))


def _dtype(arguments: tuple[object, ...]) -> Dtype:
    match arguments:
        case (str(name), 0, 1):
            return Dtype(name)
    raise UnexpectedError


def _reconstruct(arguments: tuple[object, ...]) -> Array:
    match arguments:
        case (Named(name="numpy.ndarray"), (0,), b"b"):
            return Array()
    raise UnexpectedError


def _frombuffer(arguments: tuple[object, ...]) -> Array:
    match arguments:
        case (bytes() | bytearray() as data, Dtype() as dtype, tuple(shape), "C" | "F" as order):
            array = Array()
            array.fill(shape, dtype, data, fortran=order == "F")
            return array
    raise UnexpectedError


def _scalar(arguments: tuple[object, ...]) -> object:
    match arguments:
        case (Dtype() as of, bytes(data)) if len(data) == of.dtype.itemsize and not of.holds_objects:
            if of.dtype.kind != "U":
                return np.frombuffer(data, of.dtype).item() if data else b""
            return _text(data, big_endian=of.dtype.byteorder == ">")
    raise UnexpectedError


def _text(data: bytes, *, big_endian: bool) -> str:
    # Calls the codec directly, because looking it up by name is slow, and there may be millions of ids.
    decode = codecs.utf_32_be_decode if big_endian else codecs.utf_32_le_decode
    try:
        return decode(data, "surrogatepass", True)[0].rstrip("\0")
    except UnicodeDecodeError:
        raise UnexpectedError from None


def _reconstructor(arguments: tuple[object, ...]) -> Instance:
    match arguments:
        case (Sealed() as known, Named(name="builtins.object"), None) if issubclass(known, Instance):
            return known()
    raise UnexpectedError


def _encode(arguments: tuple[object, ...]) -> bytes:
    match arguments:
        case (str(text), "latin1"):
            try:
                return text.encode("latin1")
            except UnicodeEncodeError:
                raise UnexpectedError from None
    raise UnexpectedError


def _bytes(arguments: tuple[object, ...]) -> bytes:
    if arguments:
        raise UnexpectedError
    return b""


def _bytearray(arguments: tuple[object, ...]) -> bytearray:
    match arguments:
        case ():
            return bytearray()
        case (bytes(data),):
            return bytearray(data)
    raise UnexpectedError


def _set(arguments: tuple[object, ...]) -> set[object]:
    match arguments:
        case (list(members),):
            return set(members)
    raise UnexpectedError


def _frozenset(arguments: tuple[object, ...]) -> frozenset[object]:
    return frozenset(_set(arguments))


def _ordered_dict(arguments: tuple[object, ...]) -> dict[object, object]:
    if arguments:
        raise UnexpectedError
    return {}


def _default_dict(arguments: tuple[object, ...]) -> dict[object, object]:
    match arguments:
        case () | (None | Named(),):
            return {}
    raise UnexpectedError


def _opaque(arguments: tuple[object, ...]) -> Opaque:
    return Opaque()


def _table() -> dict[tuple[str, str], StandIn | Sealed]:
    table: dict[tuple[str, str], StandIn | Sealed] = {}
    for modules, names, stand_in in _GROUPS:
        table |= {(module, name): stand_in for module in modules.split() for name in names.split()}
    return table | {
        (module, f"{layout}_{shape}"): matrix
        for layout, matrix in _SPARSE.items()
        for module, shape in (
            (f"scipy.sparse.{layout}", "matrix"),
            (f"scipy.sparse._{layout}", "matrix"),
            (f"scipy.sparse.{layout}", "array"),
            (f"scipy.sparse._{layout}", "array"),
            ("scipy.sparse._arrays", "array"),
        )
    }


_BUILTINS = "builtins __builtin__"
_RANDOM = "numpy.random._pickle"

_GROUPS: tuple[tuple[str, str, StandIn | Sealed], ...] = (
    ("numpy.core.multiarray numpy._core.multiarray", "_reconstruct", Function("numpy's _reconstruct", _reconstruct)),
    ("numpy.core.multiarray numpy._core.multiarray", "scalar", Function("numpy's scalar", _scalar)),
    ("numpy.core.numeric numpy._core.numeric", "_frombuffer", Function("numpy's _frombuffer", _frombuffer)),
    ("numpy", "ndarray", Named("numpy.ndarray")),
    ("numpy", "dtype", Function("numpy.dtype", _dtype)),
    ("numpy", "float16 float32 float64 int32 int64", Named("a NumPy number type")),
    ("implicit.als implicit.cpu.als", "AlternatingLeastSquares", AlternatingLeastSquares),
    ("copyreg copy_reg", "_reconstructor", Function("copyreg._reconstructor", _reconstructor)),
    ("_codecs", "encode", Function("_codecs.encode", _encode)),
    (_BUILTINS, "object", Named("builtins.object")),
    (_BUILTINS, "int long", Named("builtins.int")),
    (_BUILTINS, "bytes", Function("bytes", _bytes)),
    (_BUILTINS, "bytearray", Function("bytearray", _bytearray)),
    (_BUILTINS, "set", Function("set", _set)),
    (_BUILTINS, "frozenset", Function("frozenset", _frozenset)),
    ("collections", "OrderedDict", Function("collections.OrderedDict", _ordered_dict)),
    ("collections", "defaultdict", Function("collections.defaultdict", _default_dict)),
    (_RANDOM, "__randomstate_ctor __generator_ctor __bit_generator_ctor", Function("a random state", _opaque)),
    ("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence", Function("a random state", _opaque)),
    ("numpy.random.bit_generator", "SeedSequence", Named("a random state")),
    ("numpy.random._mt19937", "MT19937", Named("a random state")),
    ("numpy.random._pcg64", "PCG64", Named("a random state")),
)

_SPARSE: dict[str, type[SparseMatrix]] = {"csr": CsrMatrix, "csc": CscMatrix, "coo": CooMatrix}

_TABLE = _table()

_ADVICE = tuple(
    (re.compile(pattern), advice)
    for pattern, advice in (
        (r"joblib\.", "write the file with pickle.dump instead of joblib.dump"),
        (r"(cloudpickle|dill)\.", "write the file with the standard library's pickle.dump"),
        (r"pandas\.", "save ids as plain lists or dicts, with series.tolist() or series.to_dict()"),
        (r"polars\.", "save ids as plain lists, with series.to_list()"),
        (r"(torch|tensorflow|jax)\b", "save factors as NumPy arrays in an npz file"),
        (r"sklearn\.", "save implicit's AlternatingLeastSquares itself, without scikit-learn objects"),
        (r"implicit\.gpu\b", "save what model.to_cpu() returns"),
        (r"implicit\.", "AlternatingLeastSquares is the only implicit model that is supported"),
        (r"scipy\.sparse\b", "save sparse_matrix.tocsr()"),
        (r"numpy\.random\b", "set model.random_state = None before saving"),
        (r"__main__\.", "save the dict itself, not an object of a class of your own"),
        (
            r"",
            "save a dict of an implicit model, id maps and a scipy matrix, plus only numbers and text",
        ),
    )
)
