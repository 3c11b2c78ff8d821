"""Which of two models is better."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from service.model.facts import Evaluation, RankingMetrics
from service.training.comparison import Scored, compare, relative_drop
from service.training.evaluation import METRICS, Judged, evaluate, sample_users

NONE = RankingMetrics(0, 0, 0, 0, 0)
USERS = 500


def scored(users: list[int], values: np.ndarray) -> Scored:
    """Return what users got whose NDCG was so."""
    every = np.zeros((len(METRICS), len(users)))
    every[METRICS.index("ndcg")] = values
    return Scored(users, Judged(Evaluation(20, len(users), 0, 0, 0, NONE, NONE), np.arange(len(users)), every))


def test_a_difference_that_every_user_has_is_certain() -> None:
    """However much users differ among themselves, what each gains by the same amount has no doubt about it."""
    values = np.random.default_rng(0).random(USERS)
    found = compare(scored(list(range(USERS)), values), scored(list(range(USERS)), values + 0.01), "ndcg")
    assert found
    assert found.difference == pytest.approx(0.01)
    assert found.margin == pytest.approx(0, abs=1e-9)
    assert found.certain


def test_the_margin_is_that_of_the_mean() -> None:
    """For many users it is nearly 1.96 standard errors of the differences."""
    random = np.random.default_rng(1)
    first, gains = random.random(USERS), random.normal(0, 0.1, USERS)
    found = compare(scored(list(range(USERS)), first), scored(list(range(USERS)), first + gains), "ndcg")
    assert found
    assert found.margin == pytest.approx(1.96 * gains.std() / USERS**0.5, rel=0.1)
    assert found.difference == pytest.approx(gains.mean())
    assert not found.certain


def test_users_are_paired_by_their_ids() -> None:
    """Only users whom both models were evaluated for count, wherever they stand."""
    found = compare(scored([1, 2, 3], np.array([0.1, 0.2, 0.3])), scored([3, 4, 2], np.array([0.4, 0.9, 0.3])), "ndcg")
    assert found
    assert found.users == 2
    assert found.difference == pytest.approx(0.1)


def test_nobody_in_common() -> None:
    """Models of other users are not compared."""
    assert compare(scored([1], np.ones(1)), scored([2], np.ones(1)), "ndcg") is None


def test_a_sample_of_users() -> None:
    """As many users as wanted keep all their pairs, the same for the same seed; where they are fewer, all do."""
    pairs = csr_matrix(np.ones((20, 3), np.float32))
    pairs[4] = 0
    pairs.eliminate_zeros()
    sampled, of = sample_users(pairs, 5, 1)
    assert of == 19
    assert sorted(np.diff(sampled.indptr).tolist()) == [0] * 15 + [3] * 5
    first, again, other = (sample_users(pairs, 5, seed)[0].toarray() for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert sample_users(pairs, 19, 1) == (pairs, None)


def test_margins_are_those_of_means() -> None:
    """They are 1.96 standard errors of what single users got."""
    items = np.eye(4, dtype=np.float32)
    held_out = csr_matrix(np.array([[0, 1, 0, 0], [0, 0, 1, 0]], np.float32))
    found = evaluate(np.array([[0, 1, 0, 0], [1, 0, 0, 0]], np.float32), items, csr_matrix((2, 4)), held_out, k=1)
    assert found.als.recall == 0.5
    assert found.margins["recall"] == pytest.approx(1.96 * 0.5 / 2**0.5)


def test_a_drop_is_relative_to_the_current_model() -> None:
    """Over the users whom both models know; a gain is a negative drop."""
    current = scored([1, 2, 3], np.array([0.9, 0.2, 0.3]))
    assert relative_drop(current, scored([3, 2, 4], np.array([0.2, 0.2, 0.9])), "ndcg") == pytest.approx(0.2)
    assert relative_drop(current, scored([2, 3], np.array([0.4, 0.6])), "ndcg") == pytest.approx(-1)


def test_a_drop_from_nothing() -> None:
    """Without a hit of the current model, or without users in common, there is none to speak of."""
    assert relative_drop(scored([1], np.zeros(1)), scored([1], np.ones(1)), "ndcg") is None
    assert relative_drop(scored([1], np.ones(1)), scored([2], np.ones(1)), "ndcg") is None
