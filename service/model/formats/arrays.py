"""Arrays from untrusted parts: checks of element types, shapes and text."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import BadDtypeError, BadIdsError, CorruptFileError
from service.untrusted import quote

_PLAIN = re.compile(r"f[248]|[iu][1248]|b1|[US](0|[1-9][0-9]{0,5})")
_BYTE_ORDERS = frozenset("<>|=")
_MOST_DIMENSIONS = 32
_LONGEST_DIMENSION = 2**48
_MOST_BYTES = 2**63 - 1
_LAST_CODE_POINT = 0x10FFFF


@lru_cache(maxsize=256)  # every NumPy text among a million ids has its own dtype
def plain_dtype(component: str, name: str, order: str = "=") -> np.dtype[Any]:
    """Return the dtype of a name such as ``f4``, ``i8``, ``b1``, ``U7`` or ``S7``: no fields, no objects.

    ``order`` is one of NumPy's byte orders. Raises BadDtypeError.
    """
    if order not in _BYTE_ORDERS or not _PLAIN.fullmatch(name):
        raise BadDtypeError(
            f"{component} has elements of type {quote(order.strip('=') + name)}; only floats of 2, 4 or 8 bytes, "
            "integers, booleans and text are read."
        )
    return np.dtype(order + name)


def byte_count(component: str, dtype: np.dtype[Any], shape: Sequence[object]) -> int:
    """Return how many bytes an array takes. Raises CorruptFileError for an impossible shape."""
    sizes = [size for size in shape if type(size) is int and 0 <= size <= _LONGEST_DIMENSION]
    # NumPy also limits the other dimensions of an array that is empty.
    largest = math.prod(max(size, 1) for size in sizes) * dtype.itemsize
    if len(sizes) != len(shape) or len(sizes) > _MOST_DIMENSIONS or not 0 < largest <= _MOST_BYTES:
        raise CorruptFileError(f"{component} has an impossible shape; save the model again.")
    return math.prod(sizes) * dtype.itemsize


def build(
    component: str, dtype: np.dtype[Any], shape: tuple[int, ...], data: bytes | bytearray, *, fortran: bool
) -> NDArray[Any]:
    """Return an array over its bytes, without a copy if the byte order is the machine's.

    Raises CorruptFileError if shape and bytes disagree, or text is invalid.
    """
    needed = byte_count(component, dtype, shape)
    if needed != len(data):
        raise CorruptFileError(
            f"{component} declares the shape {shape} of {dtype.name}, which takes {needed} bytes, but has "
            f"{len(data)}; save the model again."
        )
    array: NDArray[Any] = np.ndarray(shape, dtype, buffer=data, order="F" if fortran else "C")
    return checked_text(component, array.astype(dtype.newbyteorder("="), copy=False))


def checked_text(component: str, array: NDArray[Any]) -> NDArray[Any]:
    """Return the array unchanged, after checking its text. Raises CorruptFileError."""
    if array.dtype.kind == "U" and array.size:
        points = array.ravel(order="K").view(np.uint32)
        if points.max() > _LAST_CODE_POINT:
            raise CorruptFileError(f"{component} has text that is not valid Unicode; save the model again.")
    return array


def ids(component: str, array: NDArray[Any]) -> NDArray[Any]:
    """Return an array of ids, with bytes decoded as UTF-8. Raises BadIdsError, naming the first invalid row."""
    if array.ndim != 1:
        raise BadIdsError(f"{component} has {array.ndim} dimensions; it must be a flat list of ids.")
    if array.dtype.kind != "S":
        return array
    try:
        return np.char.decode(array, "utf-8")
    except UnicodeDecodeError:
        row = next(row for row, value in enumerate(array.ravel().tolist()) if not _is_utf8(value))
        raise BadIdsError(f"{component} has bytes that are not UTF-8 text in row {row}.") from None


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
