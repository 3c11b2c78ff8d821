"""Interactions for tests: who had what, as files and in memory."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from service.training import text
from service.training.interactions import Interactions

Pairs: TypeAlias = dict[tuple[object, object], float]


def write_interactions(path: Path, users: int = 30, items: int = 20, seed: int = 0) -> Path:
    """Write a CSV of users of two tastes, half of the items each; every user has had some items, and not all."""
    rng = np.random.default_rng(seed)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("user_id", "item_id"))
        for user in range(users):
            likes = np.arange(user % 2, items, 2)
            rows.writerows((f"user-{user}", int(item)) for item in rng.choice(likes, items // 4, replace=False))
    return path


def small_interactions() -> Interactions:
    """Return five interactions of three users with three items."""
    weights = np.array([[1, 2, 0], [0, 1, 0], [1, 0, 1.5]], np.float32)
    return Interactions(np.array(["ana", "ben", "chloe"]), np.array([3, 7, 11]), csr_matrix(weights), rows=5)


def write(path: Path, text: str) -> Path:
    """Write a text file, byte for byte, and return its path."""
    path.write_bytes(text.encode())
    return path


def as_dict(interactions: Interactions) -> Pairs:
    """Return {(user id, item id): weight}."""
    users, items = interactions.user_ids.tolist(), interactions.item_ids.tolist()
    pairs = interactions.weights.tocoo()
    entries = zip(pairs.row, pairs.col, pairs.data, strict=True)
    return {(users[row], items[column]): float(weight) for row, column, weight in entries}


def first_met(interactions: Interactions) -> list[float]:
    """Return the times of the pairs, in the order of users and then items; the test has given times."""
    assert interactions.first_met is not None
    return list(interactions.first_met)


@contextmanager
def blocks_of(size: int) -> Iterator[None]:
    """Let text be read in blocks of so many bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "_BLOCK_BYTES", size)
        yield
