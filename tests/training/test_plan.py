"""What a plan comes to for data."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from service.cli.options import PRESETS as OFFERED
from service.training.plan import PRESETS, USUAL_ITERATIONS, Plan

#: 4 users, 9 items, 36 pairs: sqrt(36 / 4) + sqrt(36 / 9) is 5.
DENSE = csr_matrix(np.ones((4, 9), np.float32))


def test_regularization_comes_from_the_data() -> None:
    """It is alpha times the constant times what noise of this density amounts to."""
    assert Plan(alpha=10, regularization_constant=0.5).parameters(DENSE).regularization == pytest.approx(25)


def test_a_number_stays_what_it_is() -> None:
    """A regularization that is given is taken."""
    assert Plan(regularization=3.0).parameters(DENSE).regularization == 3.0


def test_iterations_are_few_where_nothing_decides() -> None:
    """Without a number there is the usual one, before any validation."""
    assert Plan().parameters(DENSE).iterations == USUAL_ITERATIONS
    assert Plan(iterations=7).parameters(DENSE).iterations == 7


def test_what_is_offered_is_there() -> None:
    """The command line offers the presets that there are."""
    assert tuple(PRESETS) == OFFERED
