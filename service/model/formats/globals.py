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
    Passed,
    Sealed,
    SparseMatrix,
    StandIn,
    UnexpectedError,
    passed,
)
from service.untrusted import quote


class UnknownGlobalError(UnsafePickleError):
    """The pickle names something that no model needs."""


def find(module: str, name: str) -> StandIn | Sealed:
    """Return the stand-in of one global. Raises UnsafePickleError for everything that a model does not need."""
    found = _TABLE.get((module, name))
    if found is None:
        raise _unknown(f"{module}.{name}")
    return found


def _unknown(full: str) -> UnknownGlobalError:
    return UnknownGlobalError(
        f"The pickle refers to {quote(full)}, which is not allowed, and nothing was executed; {_advice(full)}."
    )


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
        case (Dtype() as of, bytes(data)) if of.unread or (len(data) == of.dtype.itemsize and not of.holds_objects):
            if of.unread:
                return Passed()
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


def _reconstructor(arguments: tuple[object, ...]) -> StandIn:
    match arguments:
        case (Sealed() as known, Named(name="builtins.object"), None) if issubclass(known, Instance | Passed):
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


def _dict(arguments: tuple[object, ...]) -> dict[object, object]:
    match arguments:
        case ():
            return {}
        case (dict(counts),):
            return counts
    raise UnexpectedError


def _default_dict(arguments: tuple[object, ...]) -> dict[object, object]:
    match arguments:
        case () | (None | Named() | Sealed(),):
            return {}
    raise UnexpectedError


def _index(arguments: tuple[object, ...]) -> Array | range:
    match arguments:
        case (Named(), {"data": Array() as array}):
            return array
        case (Named(), {"start": int(start), "stop": int(stop), "step": int(step)}) if step and all(
            abs(end) < 2**62 for end in (start, stop, step)
        ):
            return range(start, stop, step)
    raise UnexpectedError


def _getattr(arguments: tuple[object, ...]) -> Sealed:
    """Return the type of a zone, whose pickle names a method of it in this way."""
    match arguments:
        case (Sealed(__name__="ZoneInfo") as zone, "_unpickle") if issubclass(zone, Passed):
            return zone
    raise _unknown("builtins.getattr")


def _opaque(arguments: tuple[object, ...]) -> Opaque:
    return Opaque()


def _table() -> dict[tuple[str, str], StandIn | Sealed]:
    table: dict[tuple[str, str], StandIn | Sealed] = {
        (module, name): passed(name.rpartition(".")[2])
        for modules, names in _PASSED_OVER
        for module in modules.split()
        for name in names.split()
    }
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
_INDEXES = "pandas.core.indexes.base"

_GROUPS: tuple[tuple[str, str, StandIn | Sealed], ...] = (
    ("numpy.core.multiarray numpy._core.multiarray", "_reconstruct", Function("numpy's _reconstruct", _reconstruct)),
    ("numpy.core.multiarray numpy._core.multiarray", "scalar", Function("numpy's scalar", _scalar)),
    ("numpy.core.numeric numpy._core.numeric", "_frombuffer", Function("numpy's _frombuffer", _frombuffer)),
    ("numpy", "ndarray", Named("numpy.ndarray")),
    ("numpy", "dtype", Function("numpy.dtype", _dtype)),
    (_INDEXES, "_new_Index", Function("pandas' _new_Index", _index)),
    (f"{_INDEXES} pandas.core.indexes.numeric", "Index Int64Index UInt64Index", Named("a pandas Index")),
    ("pandas.core.indexes.range", "RangeIndex", Named("a pandas Index")),
    ("implicit.als implicit.cpu.als implicit.gpu.als", "AlternatingLeastSquares", AlternatingLeastSquares),
    ("copyreg copy_reg", "_reconstructor", Function("copyreg._reconstructor", _reconstructor)),
    ("_codecs", "encode", Function("_codecs.encode", _encode)),
    (_BUILTINS, "getattr", Function("getattr", _getattr)),
    (_BUILTINS, "object", Named("builtins.object")),
    (_BUILTINS, "int long", Named("builtins.int")),
    (_BUILTINS, "bytes", Function("bytes", _bytes)),
    (_BUILTINS, "bytearray", Function("bytearray", _bytearray)),
    (_BUILTINS, "set", Function("set", _set)),
    (_BUILTINS, "frozenset", Function("frozenset", _frozenset)),
    ("collections", "OrderedDict", Function("collections.OrderedDict", _dict)),
    ("collections", "Counter", Function("collections.Counter", _dict)),
    ("collections", "defaultdict", Function("collections.defaultdict", _default_dict)),
    (_RANDOM, "__randomstate_ctor __generator_ctor __bit_generator_ctor", Function("a random state", _opaque)),
    ("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence", Function("a random state", _opaque)),
    ("numpy.random.bit_generator", "SeedSequence", Named("a random state")),
    ("numpy.random._mt19937", "MT19937", Named("a random state")),
    ("numpy.random._pcg64", "PCG64", Named("a random state")),
)

#: Types whose values, and which themselves, a model may have beside its components.
_PASSED_OVER = (
    (_BUILTINS, "bool complex dict float list range slice str tuple type unicode xrange"),
    ("datetime", "date datetime time timedelta timezone"),
    ("decimal _decimal _pydecimal", "Decimal"),
    ("fractions", "Fraction"),
    ("uuid", "UUID SafeUUID"),
    ("pathlib pathlib._local", "Path PosixPath PurePosixPath WindowsPath PureWindowsPath"),
    ("types", "SimpleNamespace"),
    ("zoneinfo", "ZoneInfo ZoneInfo._unpickle"),
    ("pandas._libs.tslibs.timestamps", "Timestamp _unpickle_timestamp"),
    ("pandas._libs.tslibs.timedeltas", "Timedelta _timedelta_unpickle"),
    (
        "numpy",
        "bool bool_ bytes_ complex64 complex128 datetime64 float16 float32 float64 int8 int16 int32 int64 longlong "
        "object_ str_ timedelta64 uint8 uint16 uint32 uint64 ulonglong",
    ),
)

_SPARSE: dict[str, type[SparseMatrix]] = {"csr": CsrMatrix, "csc": CscMatrix, "coo": CooMatrix}

_TABLE = _table()

_ADVICE = tuple(
    (re.compile(pattern), advice)
    for pattern, advice in (
        (r"joblib\.", "write the file with pickle.dump instead of joblib.dump"),
        (r"(cloudpickle|dill)\.", "write the file with the standard library's pickle.dump"),
        (r"pandas\.", "save ids as plain lists or dicts, with series.tolist() or series.to_dict()"),
        (r"numpy\._core\._internal\._convert_to_stringdtype|numpy\.dtypes\.", "save text as np.array(ids, dtype=str)"),
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
