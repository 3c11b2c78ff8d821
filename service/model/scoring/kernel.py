"""The library compiled from scan.c, if there is one, and the types of its arguments and results."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeAlias

from numpy.typing import NDArray

#: What scans the items: the compiled kernel, or NumPy.
Name: TypeAlias = Literal["int8", "numpy"]

#: What scan.c returns.
DECLINED, NOT_A_ROW = -1, -2

PATH = Path(__file__).with_name("_scan.so")
_VERSION = 2

_P, _I = ctypes.c_void_p, ctypes.c_int32
_FUNCTIONS = {
    "scan_scratch_bytes": (ctypes.c_int64, (_I, _I, _I)),
    "scan_top_n": (_I, (_P, _P, _I, _P, _I, _P, _P, _P, _P, _P, _P)),
    "scan_many_begin": (_I, (_P, _I, _I, _P, _P, _P, _P)),
    "scan_many_rows": (_I, (_P, _I, _I, _I, _I, _P, _P)),
    "scan_many_end": (None, (_P, _I, _I, _P, _P, _P, _P, _P)),
}


class CModel(ctypes.Structure):
    """The arrays of a model, by their addresses; see scan.c."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("rows", "factors", "stride")),
        ("rho", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("codes", "steps", "norms", "items")),
    )


class CListed(ctypes.Structure):
    """Rows, and the codes and steps of the first of them, by their addresses; see scan.c."""

    _fields_ = (
        ("rows", ctypes.c_void_p),
        *((name, ctypes.c_int32) for name in ("count", "head")),
        *((name, ctypes.c_void_p) for name in ("codes", "steps")),
    )


def address(array: NDArray[Any]) -> int:
    """Return where an array's first element is; the array must outlive every use of that."""
    return int(array.__array_interface__["data"][0])


def load(path: Path) -> ctypes.CDLL | None:
    """Load a library, if it is there, runs on this machine, and is of the version that this program calls."""
    with suppress(OSError, ValueError):
        library = ctypes.CDLL(str(path))
        if ctypes.c_int32.in_dll(library, "scan_version").value == _VERSION:
            for name, (result, arguments) in _FUNCTIONS.items():
                function = getattr(library, name)
                function.restype, function.argtypes = result, arguments
            return library
    return None


#: Every call of it runs without the interpreter lock. None without a compiler.
library = load(PATH)


def name() -> Name:
    """Return what scans the items."""
    return "int8" if library else "numpy"
