"""Metrics of an evaluation."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log2
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from implicit.cpu.als import AlternatingLeastSquares
from implicit.evaluation import ranking_metrics_at_k
from scipy.sparse import csr_matrix

from service.errors import TrainingError
from service.model.arranging import arrange
from service.model.factors import Float32
from service.model.facts import RankingMetrics
from service.model.model import Model
from service.training.evaluation import Pairs, evaluate, held_out_for, seen_of
from service.training.interactions import Interactions
from tests.support.models import make_factors

#: Five items of falling score to every user with a positive factor.
FALLING = np.array([[5], [4], [3], [2], [1]], np.float32)


def pairs(*rows: Sequence[int], items: int = 5) -> Pairs:
    """Return a matrix of the columns that each row has."""
    columns = [column for row in rows for column in row]
    indptr = np.cumsum([0, *map(len, rows)])
    return csr_matrix((np.ones(len(columns), np.float32), columns, indptr), (len(rows), items))


def columns_of(matrix: Pairs) -> list[set[int]]:
    """Return the columns that each row has."""
    return [set(columns.tolist()) for columns in np.split(matrix.indices, matrix.indptr[1:-1])]


def likers(count: int) -> Float32:
    """Return users to whom the items of FALLING stand in their order."""
    return np.ones((count, 1), np.float32)


def numbers(metrics: RankingMetrics) -> dict[str, float]:
    """Return each metric by its name."""
    return msgspec.structs.asdict(metrics)


def worth(**expected: float) -> Any:
    """Return what compares equal to metrics that differ by rounding alone."""
    return pytest.approx(expected)


@dataclass(frozen=True)
class Case:
    """What there is to evaluate; whole-numbered factors, some users all zeros, make every score exact."""

    users: Float32
    items: Float32
    seen: Pairs
    held_out: Pairs
    k: int


def made(users: int, items: int, unknown: int, factors: int, k: int, seen: float, held: float, seed: int) -> Case:
    """Draw a case; of all pairs, shares ``seen`` and ``held`` are there."""
    rng = np.random.default_rng(seed)
    queries = rng.integers(-2, 3, (users, factors)) * (rng.random((users, 1)) < 0.8)
    had, wanted = rng.random((users, items)) < seen, rng.random((users, items + unknown)) < held
    return Case(
        queries.astype(np.float32),
        rng.integers(-2, 3, (items, factors)).astype(np.float32),
        csr_matrix(had.astype(np.float32)),
        csr_matrix(wanted.astype(np.float32)),
        k,
    )


cases = st.builds(
    made,
    users=st.integers(1, 6),
    items=st.integers(1, 8),
    unknown=st.integers(0, 3),
    factors=st.integers(0, 3),
    k=st.integers(1, 12),
    seen=st.sampled_from([0, 0.3, 0.8, 1]),
    held=st.sampled_from([0.05, 0.3, 0.8, 1]),
    seed=st.integers(0, 10_000),
)


def best(scores: list[float], had: set[int], k: int) -> list[int]:
    """Return the best items in the order in which implicit gives them; of equals it depends on what came before."""
    heap: list[tuple[float, int]] = []
    for item, score in enumerate(scores):
        entry = (-np.inf if item in had else score, item)
        if len(heap) < k:
            heapq.heappush(heap, entry)
        elif entry[0] > heap[0][0]:
            heapq.heapreplace(heap, entry)
    return [item for score, item in sorted(heap, reverse=True) if score > -np.inf]


def popular(case: Case, had: set[int]) -> list[int]:
    """Return the items that most users had, without these."""
    users = (case.seen.toarray() > 0).sum(axis=0)
    order = sorted(range(len(users)), key=lambda item: (-users[item], item))
    return [item for item in order if item not in had][: case.k]


def by_definition(ranked: list[list[int]], wanted: list[set[int]], items: int, k: int) -> dict[str, float]:
    """Return the metrics as the textbooks have them, user by user and rank by rank."""
    sums = dict.fromkeys(("precision", "recall", "ndcg", "map"), 0.0)
    for row, relevant in zip(ranked, wanted, strict=True):
        ranks = [rank for rank, item in enumerate(row, 1) if item in relevant]
        ideal = sum(1 / log2(rank + 1) for rank in range(1, min(k, len(relevant)) + 1))
        sums["precision"] += len(ranks) / k
        sums["recall"] += len(ranks) / len(relevant)
        sums["ndcg"] += sum(1 / log2(rank + 1) for rank in ranks) / ideal
        sums["map"] += sum(number / rank for number, rank in enumerate(ranks, 1)) / min(k, len(relevant))
    means = {name: total / len(ranked) for name, total in sums.items()}
    return means | {"coverage": len({item for row in ranked for item in row}) / items}


class TestMetrics:
    """What each number says of a ranking."""

    def test_by_hand(self) -> None:
        """One hit, at the second of three ranks, of two held-out items."""
        found = evaluate(likers(1), FALLING, pairs([0]), pairs([2, 4]), k=3)
        assert numbers(found.als) == worth(
            precision=1 / 3, recall=1 / 2, ndcg=(1 / log2(3)) / (1 + 1 / log2(3)), map=(1 / 2) / 2, coverage=3 / 5
        )
        assert (found.k, found.users, found.pairs) == (3, 1, 2)

    def test_several_hits(self) -> None:
        """Hits at ranks 1 and 3; more held-out items than ranks, so the ideal has k hits."""
        found = evaluate(likers(1), FALLING, pairs([1]), pairs([0, 3, 4, 5], items=6), k=3)
        gained, ideal = 1 + 1 / log2(4), 1 + 1 / log2(3) + 1 / log2(4)
        assert numbers(found.als) == worth(
            precision=2 / 3, recall=2 / 4, ndcg=gained / ideal, map=(1 + 2 / 3) / 3, coverage=3 / 5
        )

    def test_means_are_over_users_with_pairs(self) -> None:
        """A user without held-out pairs counts nowhere, a perfect one and one without a hit by half each."""
        users = np.array([[1], [1], [-1]], np.float32)
        found = evaluate(users, FALLING, pairs([], [], []), pairs([0, 1], [], [0]), k=2)
        assert numbers(found.als) == {"precision": 0.5, "recall": 0.5, "ndcg": 0.5, "map": 0.5, "coverage": 4 / 5}
        assert (found.users, found.pairs) == (2, 3)

    def test_unknown_items_are_misses(self) -> None:
        """What the model does not know cannot be recommended, and is missed all the same."""
        known = evaluate(likers(1), FALLING, pairs([]), pairs([0]), k=2).als
        found = evaluate(likers(1), FALLING, pairs([]), pairs([0, 5, 6], items=7), k=2).als
        assert (known.recall, known.ndcg, known.map) == (1, 1, 1)
        assert (found.recall, found.ndcg, found.map) == pytest.approx((1 / 3, 1 / (1 + 1 / log2(3)), 1 / 2))
        assert found.precision == known.precision == 1 / 2

    def test_a_user_with_unknown_items_alone(self) -> None:
        """A user whose held-out items are all unknown counts as a user without a hit."""
        found = evaluate(likers(2), FALLING, pairs([], []), pairs([0], [5], items=6), k=1)
        assert (found.users, found.als.recall) == (2, 1 / 2)

    def test_seen_pairs_are_not_held_out(self) -> None:
        """A held-out pair that was seen too could never be a hit, and does not count as a miss."""
        found = evaluate(likers(2), FALLING, pairs([0], [1]), pairs([0, 1], [1]), k=1)
        assert (found.users, found.pairs, found.als.recall) == (1, 1, 1)

    def test_nothing_is_no_item(self) -> None:
        """Where fewer than k items are left, the ranks that remain are misses, of item 0 too, and cover nothing."""
        found = evaluate(likers(2), FALLING, pairs([0, 1, 2, 3], [0, 1, 2, 3]), pairs([4, 5], [5], items=6), k=9)
        assert numbers(found.als) == worth(
            precision=1 / 9 / 2, recall=1 / 2 / 2, ndcg=1 / (1 + 1 / log2(3)) / 2, map=1 / 2 / 2, coverage=1 / 5
        )

    def test_popularity(self) -> None:
        """The baseline is what most users had, equals by row, without what the user had, whatever ALS thinks."""
        seen = pairs([3, 4], [4], [2, 4], [])
        found = evaluate(likers(4), FALLING, seen, pairs([2], [], [], [4, 3]), k=2)
        # The order is 4, 2, 3, 0, 1: the first user is left 2 and 0, the last is given 4 and 2.
        assert numbers(found.popular) == worth(
            precision=1 / 2, recall=3 / 4, ndcg=(1 + 1 / (1 + 1 / log2(3))) / 2, map=3 / 4, coverage=3 / 5
        )
        assert found.als.recall == 0

    @given(cases)
    def test_definitions(self, case: Case) -> None:
        """In every case both rankings are worth what the definitions say, and each number is from 0 to 1."""
        had = columns_of(case.seen)
        wanted = [columns - had[user] for user, columns in enumerate(columns_of(case.held_out))]
        counted = [user for user, relevant in enumerate(wanted) if relevant]
        if not counted:
            with pytest.raises(TrainingError):
                evaluate(case.users, case.items, case.seen, case.held_out, k=case.k)
            return
        found = evaluate(case.users, case.items, case.seen, case.held_out, k=case.k)
        scores = (case.users @ case.items.T).tolist()
        relevant = [wanted[user] for user in counted]
        for metrics, ranked in (
            (found.als, [best(scores[user], had[user], case.k) for user in counted]),
            (found.popular, [popular(case, had[user]) for user in counted]),
        ):
            assert numbers(metrics) == pytest.approx(by_definition(ranked, relevant, len(case.items), case.k))
            assert all(0 <= number <= 1 for number in numbers(metrics).values())
        assert (found.users, found.pairs) == (len(counted), sum(map(len, relevant)))

    @pytest.mark.parametrize("k", [1, 10, 40])
    def test_implicit_agrees(self, k: int) -> None:
        """NDCG and MAP, defined alike for k up to the items, are what implicit itself makes of the same model."""
        rng = np.random.default_rng(0)
        had = rng.random((1300, 40)) < 0.2
        wanted = ~had & (rng.random((1300, 40)) < 0.05)
        seen, held_out = csr_matrix(had.astype(np.float32)), csr_matrix(wanted.astype(np.float32))
        model = AlternatingLeastSquares(factors=6)
        model.user_factors, model.item_factors = (rng.normal(size=(n, 6)).astype(np.float32) for n in had.shape)
        theirs = ranking_metrics_at_k(model, seen, held_out, K=k, show_progress=False)
        ours = evaluate(model.user_factors, model.item_factors, seen, held_out, k=k).als
        assert (ours.ndcg, ours.map) == pytest.approx((theirs["ndcg"], theirs["map"]))


class TestEvaluating:
    """What is said besides the numbers."""

    def test_progress(self) -> None:
        """The progress callback counts evaluated users up to the total."""
        told: list[tuple[int, int]] = []
        seen, held_out = pairs(*[[]] * 2501), pairs(*[[0]] * 2500, [])
        evaluate(likers(2501), FALLING, seen, held_out, on_progress=lambda *done_of_total: told.append(done_of_total))
        assert told == [(1000, 2500), (2000, 2500), (2500, 2500)]

    def test_threads_change_nothing(self) -> None:
        """However many threads rank, the numbers are the same."""
        case = made(users=400, items=50, unknown=2, factors=3, k=5, seen=0.3, held=0.1, seed=0)
        one, two = (evaluate(case.users, case.items, case.seen, case.held_out, threads=threads) for threads in (1, 2))
        assert one == two

    def test_nobody_to_evaluate(self) -> None:
        """Where no user has a held-out pair that is new, a sentence says so."""
        with pytest.raises(TrainingError) as caught:
            evaluate(likers(2), FALLING, pairs([0], []), pairs([0], []))
        assert str(caught.value) == (
            "Nothing can be evaluated: no user whom the model knows has a held-out item that is new to that user "
            "(users unknown to the model: 0)."
        )


class TestServedModel:
    """A test set against a model whose rows stand in another order."""

    @pytest.fixture
    def model(self) -> Model:
        """Three users and four items by ids of numbers and of text."""
        factors = make_factors(users=3, items=4, pairs=6)
        return arrange(
            replace(factors, user_ids=np.array([30, 10, 20]), item_ids=np.array([b"d", b"a", "é".encode(), b"c"]))
        )

    def test_ids_are_found(self, model: Model) -> None:
        """Each pair of a known user stands in the model's rows, unknown items behind all others; others are counted."""
        weights = pairs([0, 1], [2], [0, 3], items=4)
        test = Interactions(np.array([10, 15, 30]), np.array(["b", "c", "d", "é"]), weights)
        held_out, unknown_users = held_out_for(model, test)
        users, items = (
            {name: ids.row(name) for name in names}
            for ids, names in ((model.user_ids, [10, 20, 30]), (model.item_ids, ["c", "é"]))
        )
        expected = {(users[10], 4), (users[10], items["c"]), (users[30], 4), (users[30], items["é"])}
        found = held_out.tocoo()
        assert set(zip(found.row.tolist(), found.col.tolist(), strict=True)) == expected
        assert held_out.shape == (3, 5)
        assert held_out.has_canonical_format
        assert unknown_users == 1

    def test_unknown_users_are_told(self, model: Model) -> None:
        """The number of unknown users is part of the evaluation, and no other number depends on it."""
        test = Interactions(np.array([10, 11]), np.array(["a", "x"]), pairs([1], [0], items=2))
        held_out, unknown = held_out_for(model, test)
        found = evaluate(model.user_factors, model.item_factors, seen_of(model), held_out, unknown_users=unknown)
        assert (found.unknown_users, found.users, found.pairs, found.als.recall) == (1, 1, 1, 0)

    def test_seen(self, model: Model) -> None:
        """What users had is in the model's rows."""
        assert model.seen is not None
        seen = seen_of(model)
        assert seen.shape == (3, 4)
        assert seen.has_canonical_format
        assert columns_of(seen) == [set(model.seen.of(user).tolist()) for user in range(3)]
        assert seen.data.tolist() == model.seen.weights.tolist()

    def test_nothing_seen(self, model: Model) -> None:
        """A model that does not say what users had is evaluated as if they had nothing."""
        silent = replace(model, seen=None, popularity=None)
        seen = seen_of(silent)
        assert (seen.shape, seen.nnz) == ((3, 4), 0)
        held_out = pairs([0], [], [], items=4)
        assert evaluate(silent.user_factors, silent.item_factors, seen, held_out, k=4).als.recall == 1
