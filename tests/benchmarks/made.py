"""Factors that look like those of a trained model, for benchmarks at sizes that nobody can ship."""

from __future__ import annotations

import numpy as np

from service.model.factors import Float32


def als_like(users: int, items: int, factors: int, seed: int) -> tuple[Float32, Float32]:
    """Return float32 [users, factors] and [items, factors].

    The items' norms fall off with popularity rank as they do in a model of Gowalla's check-ins,
    (1 + rank / 10)^-0.35; directions are random.
    """
    rng = np.random.default_rng(seed)
    item_factors = rng.standard_normal((items, factors), np.float32)
    item_factors *= ((1 + np.arange(items) / 10) ** -0.35).astype(np.float32)[:, None]
    return rng.standard_normal((users, factors), np.float32), item_factors
