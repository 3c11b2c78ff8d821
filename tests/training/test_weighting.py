"""What pairs weigh in training."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from service.training.plan import Plan
from service.training.weighting import weighting

FOUR = csr_matrix(np.array([[1, 1, 1, 1], [2, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]], np.float32))


def test_an_item_of_four_times_the_users_weighs_half() -> None:
    """Popular items count less, by the power of the discount."""
    found = weighting(FOUR, Plan(popularity_discount=0.5)).item_weights
    assert found[1] / found[0] == pytest.approx(2)


def test_a_user_of_four_times_the_items_weighs_half() -> None:
    """Each pair of a busy user counts less, by the power of the discount."""
    weights = weighting(FOUR, Plan(popularity_discount=0, activity_discount=0.5)).apply(FOUR).toarray()
    assert weights[2, 0] / weights[0, 0] == pytest.approx(2)
    assert weights[1, 0] / weights[2, 0] == pytest.approx(2)


@pytest.mark.parametrize("size", [1e-6, 1, 1e6])
def test_the_mean_is_one(size: float) -> None:
    """However large the weights are, negative ones by their size, pairs weigh 1 on average."""
    signed = FOUR * np.float32(size)
    signed.data[2] *= -1
    weights = weighting(signed, Plan()).apply(signed)
    assert np.abs(weights.data).mean() == pytest.approx(1)
    assert (weights.data < 0).tolist() == (signed.data < 0).tolist()


def test_an_item_of_nobody() -> None:
    """An item that nobody has left in this part of the data weighs as one of one user."""
    found = weighting(csr_matrix(np.array([[1, 1, 0], [1, 0, 0]], np.float32)), Plan()).item_weights
    assert found[2] == found[1]
