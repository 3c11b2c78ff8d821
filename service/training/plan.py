"""How a model is to be trained, where the data may decide some of it, and the presets that people choose from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from scipy.sparse import csr_matrix

from service.model.facts import Parameters

#: Where nothing can be validated; see docs/recipe.md.
USUAL_ITERATIONS = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train; docs/recipe.md has the reasons.

    regularization: None takes it from the data, with ``regularization_constant``. iterations: None lets a validation
    decide, where there are enough users for one.
    """

    factors: int = 256
    regularization: float | None = None
    regularization_constant: float = 0.3
    alpha: float = 20.0
    popularity_discount: float = 0.35
    activity_discount: float = 0.25
    iterations: int | None = None
    seed: int = 0

    def parameters(self, weights: csr_matrix[Any]) -> Parameters:
        """Return what the plan comes to for these weights [users, items], before any validation."""
        return Parameters(
            factors=self.factors,
            regularization=self._regularization(weights),
            alpha=self.alpha,
            popularity_discount=self.popularity_discount,
            activity_discount=self.activity_discount,
            iterations=USUAL_ITERATIONS if self.iterations is None else self.iterations,
            seed=self.seed,
        )

    def _regularization(self, weights: csr_matrix[Any]) -> float:
        """Return ``alpha * constant * (sqrt(pairs / users) + sqrt(pairs / items))`` unless a number is given.

        ALS with this penalty takes lambda from every singular value of the weighted matrix (Srebro, Rennie, Jaakkola:
        Maximum-Margin Matrix Factorization, 2005), and those of a random sparse matrix reach about the sum in brackets.
        """
        if self.regularization is not None:
            return self.regularization
        noise = sum(math.sqrt(weights.nnz / side) for side in weights.shape)
        return float(f"{self.alpha * self.regularization_constant * noise:.4g}")


DEFAULT = Plan()
PRESETS = {
    "fast": Plan(factors=128),
    "default": DEFAULT,
    "quality": Plan(factors=1024, regularization_constant=0.45),
}
