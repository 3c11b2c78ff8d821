"""Item factors rounded to int8: a quarter of the bytes, with a proven bound on what was rounded away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.model.factors import Float32

Int8: TypeAlias = NDArray[np.int8]

#: The bytes of a row of codes are a multiple of this, so that a loop over them has no rest in any vector register.
PADDING = 32
_LARGEST_CODE = 127
# Steps below this are 0: the kernel's bounds have room for factors that small.
_SMALLEST_STEP = np.float32(1e-30)
_NUMBERS_AT_ONCE = 2**18
# More than the roundings of the norm and the division.
_ROUNDED_UP = 1 + 1e-6


@dataclass(frozen=True, slots=True)
class Codes:
    """Row i of the item factors is ``steps[i] * codes[i]``, up to a difference of norm ``rho * steps[i]``.

    codes: int8 [items, factors padded with zeros to a multiple of 32], C order. steps: float32 [items]. Of a row whose
    step is 0, no factor is above 127e-30.
    """

    codes: Int8
    steps: Float32
    rho: float


def stride_of(factors: int) -> int:
    """Return the bytes of a row of codes."""
    return -(-factors // PADDING) * PADDING


def quantize(items: Float32) -> Codes:
    """Round item factors, float32 [items, factors], to codes; a few rows at once, so that no other copy is made."""
    factors = items.shape[1]
    codes = np.zeros((len(items), stride_of(factors)), np.int8)
    steps = np.zeros(len(items), np.float32)
    rho, rows_at_once = 0.0, max(1, _NUMBERS_AT_ONCE // max(1, factors))
    for start in range(0, len(items), rows_at_once):
        rows = slice(start, start + rows_at_once)
        rho = max(rho, _quantize_into(codes[rows, :factors], steps[rows], items[rows]))
    return Codes(codes, steps, _float32_above(rho))


def _quantize_into(codes: Int8, steps: Float32, items: Float32) -> float:
    """Fill in codes and steps; return the greatest norm of a difference, in steps, measured in float64."""
    np.divide(np.abs(items).max(axis=1, initial=0), np.float32(_LARGEST_CODE), out=steps)
    steps[steps < _SMALLEST_STEP] = 0
    divisors = np.where(steps > 0, steps, np.float32(np.inf))
    codes[:] = np.rint(items / divisors[:, None]).clip(-_LARGEST_CODE, _LARGEST_CODE)
    rests = items - steps.astype(np.float64)[:, None] * codes
    norms = np.sqrt(np.vecdot(rests, rests)) / divisors
    return float(norms.max(initial=0)) * _ROUNDED_UP


def _float32_above(number: float) -> float:
    """Return the number, or the next float32 above it."""
    return float(np.nextafter(np.float32(number), np.float32(np.inf)))
