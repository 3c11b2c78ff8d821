"""The lists of many users, the same as over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.model.factors import Int32
from service.model.model import Model
from service.model.scoring.batches import recommend_many
from service.model.scoring.ranking import NO_ROWS, Eligible, Ranked
from service.model.scoring.scoring import popular

Strategy: TypeAlias = Literal["als", "popular"]

#: A part takes a second or so, which is what a killed run loses on each thread, and some megabytes.
_ENTRIES_PER_PART = 100_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a list has: up to ``n`` items, without those that the user had if ``exclude_seen``.

    eligible: the items that may be in a list, None for all.
    """

    n: int = 10
    exclude_seen: bool = True
    eligible: Eligible | None = None


@dataclass(frozen=True, slots=True)
class UserList:
    """The list of one user row, best first."""

    user: int
    strategy: Strategy
    ranked: Ranked


def part_users(n: int) -> int:
    """Return how many users a part has, whose lists are in memory at once."""
    return max(1, _ENTRIES_PER_PART // n)


def lists_of(model: Model, users: Int32, wanted: Wanted) -> Iterator[UserList]:
    """Yield the lists of these user rows, in order.

    Users whose factors are all 0 get what is popular, if the model knows that, as over HTTP.
    """
    by_factors = _have_factors(model, users)
    scanned = chain.from_iterable(
        recommend_many(model, users[by_factors], wanted.n, exclude_seen=wanted.exclude_seen, eligible=wanted.eligible)
    )
    for user, has_factors in zip(users.tolist(), by_factors.tolist(), strict=True):
        if has_factors:
            yield UserList(user, "als", next(scanned))
        else:
            seen = model.seen.of(user) if wanted.exclude_seen and model.seen else NO_ROWS
            yield UserList(user, "popular", popular(model, wanted.n, exclude=seen, eligible=wanted.eligible))


def _have_factors(model: Model, users: Int32) -> NDArray[np.bool_]:
    if model.limited:
        return np.zeros(len(users), np.bool_)
    if model.popularity is None:
        return np.ones(len(users), np.bool_)
    some: NDArray[np.bool_] = (model.user_factors[users] != 0).any(axis=1)
    return some
