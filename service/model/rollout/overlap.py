"""The overlap of two models' recommendations, on a sample of the users whom both know."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.model.factors import Id, Int32
from service.model.model import Model
from service.model.scoring.batches import recommend_many

SAMPLED_USERS = 1000
TOP = 10
#: As many users are looked for in the other model, for each that is wanted.
_TRIES = 4


@dataclass(frozen=True, slots=True)
class Overlap:
    """How much of each sampled user's top 10 two models share: ``shares`` is float64 [users], from 0 to 1.

    ``users`` are their ids. Empty if the models know no user in common, or none who gets recommendations.
    """

    users: list[Id]
    shares: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Return the mean share, 0 without users."""
        return float(self.shares.mean()) if len(self.shares) else 0.0


def overlap(
    one: Model,
    other: Model,
    seed: int = 0,
    users: int = SAMPLED_USERS,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Overlap:
    """Compare the ten best items of up to ``users`` users, without seen items, as served by default.

    The share of a user is that of the longer list. The same seed gives the same users. Nearly all of the time is spent
    without the interpreter lock. Once ``is_stopped`` returns True, users may be missing.
    """
    pairs = _common_users(one, other, seed, users)
    of_one, of_other = (_lists(model, pairs[:, side], is_stopped) for side, model in enumerate((one, other)))
    ids, shares = [], []
    for row, mine, theirs in zip(pairs[:, 0].tolist(), of_one, of_other, strict=False):
        if longer := max(len(mine), len(theirs)):
            ids.append(one.user_ids.of(row))
            shares.append(len(mine & theirs) / longer)
    return Overlap(ids, np.array(shares, np.float64))


def _common_users(one: Model, other: Model, seed: int, wanted: int) -> Int32:
    """Draw users whom both models know: their rows in each, int32 [found, 2]."""
    # From the smaller model, because most users of the larger one may be unknown to it.
    swapped = len(other.user_ids) < len(one.user_ids)
    smaller, larger = (other, one) if swapped else (one, other)
    count = len(smaller.user_ids)
    drawn = np.random.default_rng(seed).choice(count, min(_TRIES * wanted, count), replace=False)
    found = ((row, larger.user_ids.row(smaller.user_ids.of(row))) for row in drawn.tolist())
    pairs = [(row, place) for row, place in found if place is not None][:wanted]
    return np.array([pair[::-1] if swapped else pair for pair in pairs], np.int32).reshape(-1, 2)


def _lists(model: Model, users: Int32, is_stopped: Callable[[], bool]) -> Iterator[set[str]]:
    """Yield each user's top 10 as ids, in which the number 42 and the text "42" are equal, as in requests."""
    for turn in recommend_many(model, np.ascontiguousarray(users), TOP):
        if is_stopped():
            return
        for ranked in turn:
            yield set(map(str, model.item_ids.at(ranked.rows)))
