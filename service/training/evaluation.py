"""Evaluation: the quality of the top k by ALS, and by popularity, on held-out pairs.

Every metric except coverage is a mean over the users with held-out items. Let H be a user's held-out items; the user is
recommended k items, ranked from 1, none of them seen before; a hit is a rank whose item is in H.

- precision@k = hits / k, recall@k = hits / |H|
  (Manning, Raghavan, Schütze: Introduction to Information Retrieval, 2008, chapter 8).
- NDCG@k = DCG@k / IDCG@k. DCG@k is the sum of 1 / log2(rank + 1) over hits; IDCG@k is the same sum for an ideal
  ranking, over the ranks 1 to min(k, |H|) (Järvelin, Kekäläinen: Cumulated Gain-Based Evaluation of IR Techniques,
  2002, with gain 1; the discount of Burges et al.: Learning to Rank Using Gradient Descent, 2005).
- MAP@k = the mean of AP@k, which is the sum of precision@rank over hits, divided by min(k, |H|)
  (McFee, Bertin-Mahieux, Ellis, Lanckriet: The Million Song Dataset Challenge, 2012).
- coverage = the share of the model's items that were recommended to at least one of these users
  (Ge, Delgado-Battenfeld, Jannach: Beyond Accuracy, 2010, as catalog coverage).

If fewer than k items can be recommended to a user, the remaining ranks are misses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from implicit.cpu.topk import topk
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags

from service.errors import TrainingError
from service.model.factors import Float32, Int64, Seen
from service.model.facts import Evaluation, RankingMetrics
from service.model.ids import Ids
from service.model.model import Model
from service.training.interactions import Interactions

#: A users x items matrix of pairs: every stored entry is a pair, whatever its weight.
Pairs: TypeAlias = csr_matrix[Any]
#: Callback: users evaluated so far, and in total.
OnEvaluated: TypeAlias = Callable[[int, int], object]

_Bools: TypeAlias = NDArray[np.bool_]
_Float64: TypeAlias = NDArray[np.float64]

_BATCH = 1000
_NOTHING = -1
_NORMAL_95 = 1.96
_STRUCK = np.finfo(np.float32).min


#: The metrics of each user, in the order of :attr:`Judged.values`.
METRICS = ("precision", "recall", "ndcg", "map")


@dataclass(frozen=True, slots=True)
class Judged:
    """An evaluation with what it is the mean of: ``values``, float64 [metrics, users], of these ``users``, rows."""

    evaluation: Evaluation
    users: Int64
    values: _Float64


def evaluate(user_factors: Float32, item_factors: Float32, seen: Pairs, held_out: Pairs, **options: Any) -> Evaluation:
    """Rank items for every user with held-out pairs, as :func:`judge` does, and return the means."""
    return judge(user_factors, item_factors, seen, held_out, **options).evaluation


def judge(
    user_factors: Float32,
    item_factors: Float32,
    seen: Pairs,
    held_out: Pairs,
    *,
    k: int = 20,
    threads: int = 0,
    unknown_users: int = 0,
    sampled_of: int | None = None,
    on_progress: OnEvaluated = lambda _done, _total: None,
) -> Judged:
    """Rank items for every user with held-out pairs, by ALS and by popularity, and measure both rankings.

    user_factors: float32 [users, factors]; item_factors: float32 [items, factors]. seen: [users, items], pairs that are
    not recommended. held_out: [users, items or more]; a column beyond the items is an item that the model does not
    know, and a miss. Both are canonical; a pair in both only counts as seen. k is at least 1 and may exceed the number
    of items; ``threads`` 0 means all cores. Raises TrainingError if no user has a held-out pair.
    """
    held_out = _without(held_out, seen)
    users = np.flatnonzero(np.diff(held_out.indptr))
    if not len(users):
        raise TrainingError(
            "Nothing can be evaluated: no user whom the model knows has a held-out item that is new to that user "
            f"(users unknown to the model: {unknown_users})."
        )
    popularity = _Popularity(seen)
    als, popular = (_Tally(len(item_factors), k) for _ in range(2))
    for start in range(0, len(users), _BATCH):
        batch = users[start : start + _BATCH]
        wanted, had = held_out[batch], seen[batch]
        als.add(_best(user_factors[batch], item_factors, had, k, threads), wanted)
        popular.add(popularity.best(had, k), wanted)
        on_progress(start + len(batch), len(users))
    unknown_pairs = int((held_out.indices >= len(item_factors)).sum())
    counts = (k, len(users), held_out.nnz, unknown_pairs, unknown_users)
    found = Evaluation(*counts, als.metrics(), popular.metrics(), sampled_of, als.margins())
    return Judged(found, users, als.values())


def held_out_for(model: Model, test: Interactions) -> tuple[Pairs, int]:
    """Return a test's pairs in a served model's rows, and how many of its users the model does not know.

    The pairs, [users, items + unknown items], are those of users whom the model knows.
    """
    users, items = _rows(model.user_ids, test.user_ids), _rows(model.item_ids, test.item_ids)
    unknown = np.flatnonzero(items == _NOTHING)
    items[unknown] = len(model.item_ids) + np.arange(len(unknown))
    pairs = test.weights.tocoo()
    known = (users[pairs.row] != _NOTHING) & (pairs.data > 0)
    rows, columns = users[pairs.row[known]], items[pairs.col[known]]
    shape = (len(model.user_ids), len(model.item_ids) + len(unknown))
    return csr_matrix((pairs.data[known], (rows, columns)), shape), int((users == _NOTHING).sum())


def seen_of(model: Model) -> Pairs:
    """Return the seen pairs, [users, items] in a served model's rows; empty if the model has none."""
    shape = (len(model.user_ids), len(model.item_ids))
    seen = model.seen or Seen(np.zeros(shape[0] + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
    return csr_matrix((seen.weights, seen.items, seen.indptr), shape, copy=False)


def sample_users(pairs: Pairs, most: int, seed: int) -> tuple[Pairs, int | None]:
    """Return pairs of at most so many users, drawn at random of those who have any, and of how many they were drawn.

    The second is None where all fit. The same arguments give the same users.
    """
    users = np.flatnonzero(np.diff(pairs.indptr))
    if len(users) <= most:
        return pairs, None
    kept = np.zeros(pairs.shape[0])
    kept[np.random.default_rng(seed).choice(users, most, replace=False)] = 1
    sampled = (diags(kept) @ pairs).tocsr()
    sampled.eliminate_zeros()
    return sampled, len(users)


def _rows(ids: Ids, wanted: NDArray[Any]) -> Int64:
    """Return the row of each id, -1 if unknown."""
    found = (ids.row(value) for value in wanted.tolist())
    return np.array([_NOTHING if row is None else row for row in found], np.int64)


def _without(held_out: Pairs, seen: Pairs) -> Pairs:
    """Return the held-out pairs that are not also seen."""
    users, width = held_out.shape
    pairs = _keys(held_out, width)
    rows, columns = np.divmod(pairs[~_among(_keys(seen, width), pairs)], width)
    return csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), (users, width))


def _keys(pairs: Pairs, width: int) -> Int64:
    """Return row * width + column of each pair, ascending: one number stands for a pair."""
    return _rows_of(pairs) * width + pairs.indices


def _rows_of(pairs: Pairs) -> Int64:
    """Return the row of each pair, in their order."""
    return np.repeat(np.arange(pairs.shape[0], dtype=np.int64), np.diff(pairs.indptr))


def _among(ascending: Int64, wanted: Int64) -> _Bools:
    """Return which of the numbers, in an array of any shape, are among the ascending ones."""
    return np.searchsorted(ascending, wanted) < np.searchsorted(ascending, wanted, side="right")


def _best(queries: Float32, item_factors: Float32, had: Pairs, k: int, threads: int) -> Int64:
    """Return the best-scoring item rows, [queries, at most k], and -1 if none is left."""
    # If k exceeds the items, topk pads with item 0; and it scores seen items lowest but keeps them.
    k = min(k, len(item_factors))
    found, scores = topk(item_factors, queries, k, filter_query_items=had, num_threads=threads)
    best: Int64 = np.where(scores > _STRUCK, found, _NOTHING)
    return best


class _Popularity:
    """Items by their number of users, equal ones by row."""

    def __init__(self, seen: Pairs) -> None:
        had = Seen(seen.indptr.astype(np.int64), seen.indices, seen.data)
        self.order = np.argsort(-had.users_of_items(seen.shape[1]), kind="stable")
        self.place = np.empty_like(self.order)
        self.place[self.order] = np.arange(len(self.order))

    def best(self, had: Pairs, k: int) -> Int64:
        """Return the most popular items that each user did not have, [users, at most k], and -1 if none is left.

        The i-th item a user had, in order of popularity at place p, has p - i before it that the user did not
        have. So the item of rank r is at place r, plus one for each of those with p - i <= r.
        """
        users, items = had.shape
        k = min(k, items)
        rows, places = np.divmod(np.sort(_rows_of(had) * items + self.place[had.indices]), items)
        others = places - (np.arange(len(rows)) - had.indptr[rows])
        near = others < k
        passed = np.bincount(rows[near] * k + others[near], minlength=users * k).reshape(users, k).cumsum(axis=1)
        places = np.arange(k) + passed
        return np.where(places < items, self.order[np.minimum(places, items - 1)], _NOTHING)


class _Tally:
    """The sums of the metrics of one kind of ranking so far."""

    def __init__(self, items: int, k: int) -> None:
        self._k = k
        self._values: list[_Float64] = []
        self._recommended = np.zeros(items, np.bool_)

    def add(self, ranked: Int64, wanted: Pairs) -> None:
        """Add users' ranked items, [users, at most k] with -1 for none, and their held-out pairs."""
        width = wanted.shape[1]
        keys = np.arange(len(ranked), dtype=np.int64)[:, None] * width + ranked
        # -1 is never a hit, although its key equals that of the previous user's last column.
        hits = _among(_keys(wanted, width), keys) & (ranked != _NOTHING)
        self._values.append(_worth(hits, np.diff(wanted.indptr), self._k))
        self._recommended[ranked[ranked != _NOTHING]] = True

    def values(self) -> _Float64:
        """Return the metrics of each user, [metrics, users]."""
        return np.concatenate(self._values, axis=1)

    def metrics(self) -> RankingMetrics:
        """Return the means."""
        precision, recall, ndcg, average_precision = self.values().mean(axis=1).tolist()
        return RankingMetrics(precision, recall, ndcg, average_precision, float(self._recommended.mean()))

    def margins(self) -> dict[str, float]:
        """Return half the width of the 95 % confidence interval of each mean, by the normal distribution."""
        values = self.values()
        errors = values.std(axis=1) / np.sqrt(values.shape[1])
        return dict(zip(METRICS, (_NORMAL_95 * errors).tolist(), strict=True))


def _worth(hits: _Bools, wanted: NDArray[Any], k: int) -> _Float64:
    """Return precision, recall, NDCG and AP at k, [4, users], of hits [users, at most k] among ``wanted`` items."""
    ranks = np.arange(1, k + 1)
    discounts = 1 / np.log2(ranks + 1)
    found, most = hits.cumsum(axis=1), np.minimum(wanted, k)
    # cumsum adds in order, as for the ideal; sum would differ by rounding and could exceed 1.
    gained = (hits * discounts[: hits.shape[1]]).cumsum(axis=1)[:, -1]
    precisions = hits * found / ranks[: hits.shape[1]]
    return np.stack(
        (found[:, -1] / k, found[:, -1] / wanted, gained / discounts.cumsum()[most - 1], precisions.sum(axis=1) / most)
    )
