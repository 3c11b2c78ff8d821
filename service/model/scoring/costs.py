"""The cost of each kind of query on this model, so that a server knows which ones would block others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import median
from time import perf_counter_ns
from typing import TypeVar

import msgspec
import numpy as np

from service.model.model import Model
from service.model.scoring import scoring

# A query may scan all items, which takes 10 ms or more for a million: few repetitions keep an import short.
_REPETITIONS = 7
_SIMILAR_N = 10
_EXPLAINED_N = 10
_FOLDED_ITEMS = 50
_PAIRS_PER_MICROSECOND = 1500

_Argument = TypeVar("_Argument")


class QueryCosts(msgspec.Struct, frozen=True):
    """The median microseconds of each kind of query, measured when the model was imported.

    fold_in is for 50 items, without the following top-N; explain is 0 if the model cannot explain.
    """

    recommend_10: float
    recommend_100: float
    recommend_1000: float
    similar_items: float
    similar_users: float
    fold_in: float
    explain: float

    def recommend(self, n: int) -> float:
        """Estimate a top-N query; ``n`` counts the offset too.

        Between measured points, the greater cost is used; beyond the last, cost grows in proportion.
        """
        if n <= 10:
            return self.recommend_10
        if n <= 100:
            return self.recommend_100
        return self.recommend_1000 * max(1.0, n / 1000)

    def audience(self, pairs: int) -> float:
        """Estimate the users of an item: like similar users, and a look at each of so many seen pairs."""
        return self.similar_users + pairs / _PAIRS_PER_MICROSECOND


def measure(model: Model, seed: int = 0) -> QueryCosts:
    """Time queries for random users and items on this machine, now; popular items cost almost nothing."""
    if model.limited:
        return QueryCosts(0, 0, 0, 0, 0, 0, 0)
    rng = np.random.default_rng(seed)
    users = rng.integers(0, len(model.user_factors), _REPETITIONS).tolist()
    items = rng.integers(0, len(model.item_factors), _REPETITIONS).tolist()
    pairs = list(zip(users, items, strict=True))
    folded = rng.integers(0, len(model.item_factors), (_REPETITIONS, _FOLDED_ITEMS), dtype=np.int32)
    weights = np.ones(_FOLDED_ITEMS, np.float32)
    return QueryCosts(
        recommend_10=_median(lambda user: scoring.recommend(model, user, 10), users),
        recommend_100=_median(lambda user: scoring.recommend(model, user, 100), users),
        recommend_1000=_median(lambda user: scoring.recommend(model, user, 1000), users),
        similar_items=_median(lambda item: scoring.similar_items(model, item, _SIMILAR_N), items),
        similar_users=_median(lambda user: scoring.similar_users(model, user, _SIMILAR_N), users),
        fold_in=_median(lambda rows: scoring.fold_in(model, rows, weights), folded),
        explain=_median(lambda pair: scoring.explain(model, *pair, _EXPLAINED_N), pairs) if model.seen else 0.0,
    )


def _median(query: Callable[[_Argument], object], arguments: Iterable[_Argument]) -> float:
    """Return the median microseconds of one query over these arguments."""
    return median(_nanoseconds(query, argument) for argument in arguments) / 1000


def _nanoseconds(query: Callable[[_Argument], object], argument: _Argument) -> int:
    start = perf_counter_ns()
    query(argument)
    return perf_counter_ns() - start
