"""Pickles of small models that implicit itself makes."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares

from service.model.formats.reading import read
from service.model.raw import RawModel


def read_bytes(content: bytes) -> RawModel:
    """Read a file's content."""
    return read(Path("model.pkl"), io.BytesIO(content))


def make_model(users: int = 3, items: int = 4, factors: int = 2) -> AlternatingLeastSquares:
    """Make a fitted model."""
    rng = np.random.default_rng(users * items)
    model = AlternatingLeastSquares(factors=factors, random_state=1)
    model.user_factors = rng.random((users, factors), np.float32)
    model.item_factors = rng.random((items, factors), np.float32)
    return model


def pickled(protocol: int = 4, /, **changes: object) -> bytes:
    """Pickle a good dict with some components changed; None leaves a component out."""
    good: dict[str, object] = {
        "model": make_model(),
        "user_id_map": {0: "ann", 1: "bob", 2: "cid"},
        "product_id_map": {0: 10, 1: 11, 2: 12, 3: 13},
    }
    return pickle.dumps({name: part for name, part in (good | changes).items() if part is not None}, protocol)
