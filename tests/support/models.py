"""Small made-up models for tests: proved factors, in a source's arbitrary row order."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.model.factors import Factors, Float32, Seen
from service.model.ids import IdKind


def make_factors(
    users: int = 40,
    items: int = 60,
    factors: int = 4,
    seed: int = 0,
    ids: IdKind = "int",
    pairs: int | None = 200,
    *,
    whole: bool = False,
    activity_discount: float = 0.0,
) -> Factors:
    """Make a model whose ids stand in no order, and which differs with its seed.

    ``pairs`` (user, item) pairs are drawn, repeats merged, as what users already had; None makes a model
    without any. Whole-numbered factors, with zero rows, repeats and equal scores, make every score exact.
    """
    rng = np.random.default_rng(seed)
    return Factors(
        user_factors=_factors(rng, users, factors, whole),
        item_factors=_factors(rng, items, factors, whole),
        user_ids=make_ids(rng, users, ids, "user"),
        item_ids=make_ids(rng, items, ids, "item"),
        seen=None if pairs is None else make_seen(rng, users, items, pairs),
        item_weights=rng.uniform(0.5, 2, items).astype(np.float32),
        regularization=0.05,
        alpha=2.0,
        activity_discount=activity_discount,
    )


def make_ids(rng: np.random.Generator, count: int, kind: IdKind, prefix: str) -> NDArray[Any]:
    """Draw distinct ids in no order: numbers with gaps and negative ones, or text of several lengths."""
    numbers = rng.choice(10 * count + 10, count, replace=False).astype(np.int64) - 5
    return numbers if kind == "int" else np.array([f"{prefix}-é{number}".encode() for number in numbers])


def make_seen(rng: np.random.Generator, users: int, items: int, pairs: int) -> Seen:
    """Draw pairs, repeats merged, with weights 1 to 5."""
    pair = np.unique(rng.integers(0, users * items, pairs))
    counts = np.bincount(pair // items, minlength=users)
    return Seen(
        indptr=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        items=(pair % items).astype(np.int32),
        weights=rng.integers(1, 6, len(pair)).astype(np.float32),
    )


def popularity_bytes(**changes: Any) -> bytes:
    """Return a model file of 3 users and 4 items: tea was had by three, ale by two, rum by one, gin by nobody."""
    arrays: dict[str, Any] = {
        "popularity_only": np.True_,
        "user_ids": np.array(["ann", "bob", "cid"]),
        "item_ids": np.array(["ale", "gin", "rum", "tea"]),
        "seen_indptr": np.array([0, 1, 3, 6]),
        "seen_indices": np.array([3, 0, 3, 0, 2, 3]),
        **changes,
    }
    file = io.BytesIO()
    np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
    return file.getvalue()


def _factors(rng: np.random.Generator, rows: int, factors: int, whole: bool) -> Float32:
    if whole:
        return rng.integers(-2, 3, (rows, factors)).astype(np.float32)
    spread = rng.lognormal(0, 1, (rows, 1))
    return (spread * rng.normal(size=(rows, factors))).astype(np.float32)
