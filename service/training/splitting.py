"""Splitting: holds out some of each user's interactions for evaluation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from service.errors import TrainingError
from service.model.factors import Int64
from service.training.interactions import Interactions

Mask: TypeAlias = NDArray[np.bool_]

# 0.29 * 100 is 28.999…96 in binary, but 29 % of 100 items should be 29.
_ROUNDING = 1e-9


def hold_out(
    interactions: Interactions, *, share: float = 0.2, seed: int = 0, users: Int64 | None = None
) -> tuple[Interactions, csr_matrix[np.float32]]:
    """Hold out floor(share * items) pairs of each user; users with few items keep them all, and nobody loses all.

    They are the user's latest pairs, or random ones without times or among equal times; the same arguments give the
    same split. Held-out pairs that weigh nothing or less are in neither part: they do not test a ranking. users:
    rows of the only users of whom pairs are held out; None means all. Returns the remaining interactions, with all ids
    and the same shape, and the held-out weights, float32 [users, items]; both matrices are canonical. Raises
    TrainingError if every user has too few items.
    """
    weights = interactions.weights
    counts = np.diff(weights.indptr).astype(np.int64)
    wanted = np.minimum(np.floor(share * counts + _ROUNDING).astype(np.int64), counts - 1)
    if users is not None:
        wanted[np.isin(np.arange(len(counts)), users, invert=True)] = 0
    if not (wanted > 0).any():
        raise TrainingError(
            f"Nothing can be held out: the user with the most items has {counts.max()}, too few for a share of "
            f"{share:g}; train without an evaluation."
        )
    held = _latest(interactions, counts, wanted, seed)
    times = None if interactions.first_met is None else interactions.first_met[~held]
    liked = held & (weights.data > 0)
    return replace(interactions, weights=_only(weights, ~held), first_met=times), _only(weights, liked)


def _latest(interactions: Interactions, counts: Int64, wanted: Int64, seed: int) -> Mask:
    """Return for each pair, in the order of ``weights.data``, whether it is among its user's ``wanted`` latest."""
    users = np.repeat(np.arange(len(counts)), counts)
    chance = np.random.default_rng(seed).permutation(len(users))
    times = interactions.first_met
    order = np.lexsort((chance, users) if times is None else (chance, times, users))
    place = np.arange(len(users)) - interactions.weights.indptr[users]
    held = np.empty(len(users), np.bool_)
    # Sorting only moves pairs within their user, so users and places stay the same.
    held[order] = place >= (counts - wanted)[users]
    return held


def _only(weights: csr_matrix[np.float32], kept: Mask) -> csr_matrix[np.float32]:
    """Return the matrix with only the selected pairs, in order."""
    before: NDArray[Any] = np.concatenate(([0], np.cumsum(kept)))
    indptr = before[weights.indptr]
    return csr_matrix((weights.data[kept], weights.indices[kept], indptr), weights.shape)
