"""Interactions for tests: who had what, as files and in memory."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from service.training.interactions import Interactions


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
