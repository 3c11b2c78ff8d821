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
_ROWS_AT_ONCE = 16_384
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
    codes = np.zeros((len(items), stride_of(items.shape[1])), np.int8)
    steps = np.zeros(len(items), np.float32)
    rho = 0.0
    for start in range(0, len(items), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        rho = max(rho, _quantize_into(codes[rows, : items.shape[1]], steps[rows], items[rows]))
    return Codes(codes, steps, _float32_above(rho))


def _quantize_into(codes: Int8, steps: Float32, items: Float32) -> float:
    """Fill in codes and steps; return the greatest norm of a difference, in steps, measured in float64."""
    np.divide(np.abs(items).max(axis=1, initial=0), np.float32(_LARGEST_CODE), out=steps)
    steps[steps < _SMALLEST_STEP] = 0
    exact, known = items.astype(np.float64), steps > 0
    exact_steps = np.where(known, steps, 1).astype(np.float64)[:, None]
    codes[known] = np.rint(exact[known] / exact_steps[known]).clip(-_LARGEST_CODE, _LARGEST_CODE)
    rest = (exact - exact_steps * codes) / exact_steps
    norms = np.sqrt(np.vecdot(rest, rest))[known]
    return float(norms.max(initial=0)) * _ROUNDED_UP


def _float32_above(number: float) -> float:
    """Return the number, or the next float32 above it."""
    return float(np.nextafter(np.float32(number), np.float32(np.inf)))
