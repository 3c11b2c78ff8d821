"""Scores as short decimals, for JSON."""

from __future__ import annotations

from math import ceil, frexp, isfinite, log10

from service.errors import SnapshotDamagedError
from service.model.factors import Float32


def compact(numbers: Float32) -> list[float]:
    """Return finite float32 numbers as decimals of at most ten digits that read back as the same float32.

    Raises SnapshotDamagedError if one is not finite: no model is accepted with which a score could be.

    Written as a double, 0.3 would be 0.30000001192092896, and an answer a quarter longer. A float32 below 2^e is at
    least 2^(e-25) from its neighbours, so it is rounded to within half of that.
    """
    exact = numbers.tolist()
    if not isfinite(sum(exact)):
        raise SnapshotDamagedError(
            "A score is not a finite number: the files of the served snapshot were changed; delete its directory."
        )
    # For ten scores, calls (NumPy's and round() included) cost more than the arithmetic. Adding and subtracting a
    # number too large to have fraction bits also rounds.
    return [(number * (scale := _SCALES[frexp(number)[1]]) + _NO_FRACTIONS - _NO_FRACTIONS) / scale for number in exact]


_NO_FRACTIONS = 1.5 * 2.0**52
_SMALLEST_EXPONENT, _LARGEST_EXPONENT = -148, 128
#: By exponent; negative exponents index from the end of the list.
_SCALES = [
    10.0 ** ceil((25 - exponent) * log10(2))
    for exponent in (*range(_LARGEST_EXPONENT + 1), *range(_SMALLEST_EXPONENT, 0))
]
