"""How much each row of the data counts: by its age, and by what it is rated above."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.errors import TrainingError
from service.training.rows import Float64

_SECONDS_A_DAY = 86_400
#: Times beyond this, in the year 5138, are not seconds since 1970.
_LATEST = 1e11


@dataclass(frozen=True, slots=True)
class Counting:
    """What becomes of the weights of rows.

    half_life: in days; a row that is older than the newest by so much weighs half. rated_above: weights are ratings,
    of which what exceeds this counts; the rest says nothing for or against an item.
    """

    half_life: float | None = None
    rated_above: float | None = None

    def count(self, weights: Float64, times: Float64 | None) -> Float64:
        """Return the weights of rows, float64 [rows], of their weights and times. Raises TrainingError."""
        if self.rated_above is not None:
            weights = np.maximum(weights - self.rated_above, 0)
        if self.half_life is not None:
            weights = weights * self._decay(times)
        if not weights.any():
            raise TrainingError(f"No row counts: none is rated above {self.rated_above:g}.")
        return weights

    def _decay(self, times: Float64 | None) -> Float64:
        assert self.half_life
        if times is None:
            raise TrainingError("A half-life needs times, and not every row has one; name their column.")
        if np.abs(times).max() > _LATEST:
            raise TrainingError("A half-life needs dates or times in seconds since 1970; the times are larger.")
        decay: Float64 = np.exp2((times - times.max()) / (_SECONDS_A_DAY * self.half_life))
        return decay
