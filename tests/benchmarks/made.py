"""Models for benchmarks at sizes that nobody can ship: trained on made-up interactions, or made up themselves."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray

from service.model.arranging import arrange
from service.model.codes import Codes
from service.model.factors import Factors, Float32
from service.model.formats.reading import read
from service.model.model import Model
from service.model.validation.validation import validate
from tests.support.models import make_seen

USERS, SEEN_PER_USER = 2000, 30
GENRES, TASTES, OFF_TASTE = 40, 3, 0.1


def gaussian(users: int, items: int, factors: int, seed: int) -> tuple[Float32, Float32]:
    """Return float32 [users, factors] and [items, factors], whose norms hardly differ."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((users, factors), np.float32), rng.standard_normal((items, factors), np.float32)


def als_like(users: int, items: int, factors: int, seed: int) -> tuple[Float32, Float32]:
    """Return the same, the items' norms falling off with popularity rank as they do in a model of Gowalla's check-ins.

    That is (1 + rank / 10)^-0.35; directions are random.
    """
    user_factors, item_factors = gaussian(users, items, factors, seed)
    item_factors *= ((1 + np.arange(items) / 10) ** -0.35).astype(np.float32)[:, None]
    return user_factors, item_factors


def trained(users: int, items: int, factors: int, per_user: int, seed: int) -> AlternatingLeastSquares:
    """Train ALS on :func:`interactions`."""
    model = AlternatingLeastSquares(factors=factors, regularization=0.05, alpha=4, iterations=5, random_state=seed)
    model.fit(interactions(users, items, per_user, seed), show_progress=False)
    return model


def interactions(users: int, items: int, per_user: int, seed: int) -> sp.csr_matrix:
    """Return a users x items matrix: each user has a few genres' items, the popular ones (Zipf) most often."""
    rng = np.random.default_rng(seed)
    genre_of = rng.integers(0, GENRES, items)
    tastes = rng.integers(0, GENRES, (users, TASTES))
    user = np.repeat(np.arange(users), per_user)
    genre = tastes[user, rng.integers(0, TASTES, len(user))]
    stray = rng.random(len(user)) < OFF_TASTE
    genre[stray] = rng.integers(0, GENRES, int(stray.sum()))
    item = np.empty_like(user)
    for kind in range(GENRES):
        members = np.flatnonzero(genre_of == kind)
        weights = 1 / (members + 10.0) ** 0.8
        chosen = np.flatnonzero(genre == kind)
        item[chosen] = rng.choice(members, len(chosen), p=weights / weights.sum())
    matrix = sp.csr_matrix((np.ones(len(user), np.float32), (user, item)), shape=(users, items))
    matrix.sum_duplicates()
    return matrix


def generated(items: int, factors: int, *, falling: bool) -> Model:
    """Make a model of Gaussian factors, the items' norms falling with their rank or left as they are."""
    users, made = als_like(USERS, items, factors, seed=0) if falling else gaussian(USERS, items, factors, seed=0)
    seen = make_seen(np.random.default_rng(0), USERS, items, USERS * SEEN_PER_USER)
    return as_served(arrange(Factors(users, made, np.arange(USERS), np.arange(items), seen, 0.01, 1.0)))


def read_model(path: Path) -> Model:
    """Read a model file, without the child process that a server would have it read by."""
    with path.open("rb") as file:
        return as_served(arrange(validate(read(path, file))))


def as_served(model: Model) -> Model:
    """Have the factors in files that are mapped, as a server has them, and so where a page of memory begins."""
    with tempfile.TemporaryDirectory() as directory:

        def mapped(array: NDArray[Any]) -> NDArray[Any]:
            path = Path(directory) / "array.npy"
            path.unlink(missing_ok=True)
            np.save(path, array)
            return np.asarray(np.load(path, mmap_mode="r")).view(np.ndarray)

        return dataclasses.replace(
            model,
            user_factors=mapped(model.user_factors),
            item_factors=mapped(model.item_factors),
            item_norms=mapped(model.item_norms),
            codes=Codes(mapped(model.codes.codes), mapped(model.codes.steps), model.codes.rho),
        )
