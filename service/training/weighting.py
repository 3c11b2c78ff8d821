"""What each pair weighs in training: less for popular items and for busy users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from service.errors import TrainingError
from service.model.factors import Float32
from service.model.validation.validation import LARGEST_PARAMETER
from service.training.plan import Plan

_Float64: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Weighting:
    """What a pair's own weight is multiplied with: ``item_weights[item] * (the user's pairs)^-activity_discount``.

    item_weights: float32 [items].
    """

    item_weights: Float32
    activity_discount: float

    def apply(self, weights: csr_matrix[np.float32]) -> csr_matrix[np.float32]:
        """Return the weights [users, items] as training takes them; what they share with the old is not copied."""
        counts = np.diff(weights.indptr)
        users = np.repeat(_discount(counts, self.activity_discount), counts)
        data = (weights.data * self.item_weights[weights.indices] * users).astype(np.float32)
        return csr_matrix((data, weights.indices, weights.indptr), weights.shape)


def weighting(weights: csr_matrix[np.float32], plan: Plan) -> Weighting:
    """Return the weighting by which the mean of all pairs, by size, is 1.

    What everybody has says less of a taste than what few have; without the first discount, the greatest part of the
    loss that ALS minimizes is that of the most popular items (the propensity of Yang et al., Unbiased Offline
    Recommender Evaluation for Missing-Not-At-Random Implicit Feedback, 2018, put on the training). The second does
    the same for users: each pair of who has had much says less. Raises TrainingError where no server would take it.
    """
    items = _discount(np.bincount(weights.indices, minlength=weights.shape[1]), plan.popularity_discount)
    counts = np.diff(weights.indptr)
    users = np.repeat(_discount(counts, plan.activity_discount), counts)
    mean = float(np.mean(np.abs(weights.data, dtype=np.float64) * users * items[weights.indices]))
    if (items > LARGEST_PARAMETER * mean).any():
        average = float(np.mean(np.abs(weights.data)))
        raise TrainingError(f"The weights are too small (on average {average:.2g}); multiply them before training.")
    return Weighting((items / mean).astype(np.float32), plan.activity_discount)


def _discount(counts: NDArray[np.int64], power: float) -> _Float64:
    discounts: _Float64 = np.maximum(counts, 1).astype(np.float64) ** -power
    return discounts
