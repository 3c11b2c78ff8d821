"""The exact last step of training: stored factors are folded-in factors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from service.model.arranging import arrange
from service.model.formats import npz
from service.model.model import Model
from service.model.scoring.folding import explain, fold_in, least_squares
from service.model.validation.validation import validate
from service.training import user_step
from service.training.als import train
from service.training.interactions import read_interactions
from service.training.model_files import facts_of, save_npz
from service.training.plan import Plan
from service.training.user_step import exact_users
from tests.support.interactions import write_interactions

USERS, ITEMS, FACTORS = 40, 30, 6


def confidences(seed: int = 0, share: float = 0.3) -> csr_matrix[np.float32]:
    """Return confidences of both signs, some below 1; the first user has none."""
    rng = np.random.default_rng(seed)
    had = rng.random((USERS, ITEMS)) < share
    had[0] = False
    return csr_matrix(np.where(had, rng.uniform(-3, 6, had.shape), 0).astype(np.float32))


def one_by_one(confidence: csr_matrix[np.float32], items: np.ndarray, regularization: float) -> np.ndarray:
    """Solve for each user alone."""
    wide = items.astype(np.float64)
    rows = [slice(*confidence.indptr[user : user + 2]) for user in range(USERS)]
    return np.array(
        [
            least_squares(
                wide.T @ wide, wide[confidence.indices[row]], confidence.data[row].astype(float), regularization
            )
            for row in rows
        ]
    )


@pytest.mark.parametrize("share", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("regularization", [10.0, 0.1, 1e-12, 0.0])
def test_all_at_once_is_one_by_one(share: float, regularization: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a user had few items, many or none, and disliked some: the factors solve the user's equations."""
    monkeypatch.setattr(user_step, "_BATCH", 100)
    items = np.random.default_rng(1).normal(size=(ITEMS, FACTORS)).astype(np.float32)
    confidence = confidences(share=share)
    found = exact_users(confidence, items, regularization)
    np.testing.assert_allclose(found, one_by_one(confidence, items, regularization), rtol=1e-4, atol=1e-5)
    assert found.dtype == np.float32
    assert not found[0].any()


def test_items_in_a_subspace() -> None:
    """Without regularization equations may be singular, and each user gets the shortest solution."""
    rng = np.random.default_rng(2)
    items = (rng.normal(size=(ITEMS, 3)) @ rng.normal(size=(3, FACTORS))).astype(np.float32)
    found = exact_users(confidences(), items, 0.0)
    np.testing.assert_allclose(found, one_by_one(confidences(), items, 0.0), rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module", params=[Plan(factors=8), Plan(factors=8, iterations=5, alpha=40, regularization=1.0)])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Return a model as a server has it, made of a file that training wrote."""
    directory = tmp_path_factory.mktemp("served")
    interactions = read_interactions([write_interactions(directory / "data.csv")])
    model = train(interactions, request.param)
    save_npz(model, facts_of(model, [], None, {}), directory / "model.npz")
    with (directory / "model.npz").open("rb") as file:
        return arrange(validate(npz.read(file)))


def test_a_known_users_items_fold_in_to_the_users_factors(served: Model) -> None:
    """What is stored of a user is what a newcomer with the same items gets."""
    assert served.seen
    for user in range(len(served.user_ids)):
        folded = fold_in(served, served.seen.of(user), served.seen.weights_of(user))
        np.testing.assert_allclose(folded, served.user_factors[user], atol=1e-4)


def test_explanations_add_up_to_the_score_that_is_shown(served: Model) -> None:
    """All parts of an explanation together are the score by the factors that are stored."""
    for user, item in ((0, 0), (1, 7), (29, 19)):
        parts = explain(served, user, item, 1000).scores
        shown = served.user_factors[user] @ served.item_factors[item]
        np.testing.assert_allclose(parts.sum(), shown, atol=1e-4)
