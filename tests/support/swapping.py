"""Two models of the same users and items that answer differently, and the check that no answer mixes them."""

from __future__ import annotations

import asyncio
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.load import Answer

TOP = 10


@dataclass(frozen=True, slots=True)
class TwoModels:
    """The bytes of two models, by version, and the factors that say what each must answer."""

    contents: dict[str, bytes]
    factors: dict[str, tuple[Any, Any]]

    @classmethod
    def make(cls, users: int, items: int, factors: int, seeds: tuple[int, int] = (1, 2)) -> TwoModels:
        """Make two seeded models whose ids are row numbers."""
        contents, kept = {}, {}
        for seed in seeds:
            rng = np.random.default_rng(seed)
            pair = rng.normal(size=(users, factors)).astype("f"), rng.normal(size=(items, factors)).astype("f")
            file = io.BytesIO()
            np.savez(file, user_factors=pair[0], item_factors=pair[1])
            version = hashlib.sha256(file.getvalue()).hexdigest()[:16]
            contents[version], kept[version] = file.getvalue(), pair
        return cls(contents, kept)

    def put(self, version: str, path: Path) -> None:
        """Replace the file at the path by one rename."""
        beside = path.with_suffix(".new")
        beside.write_bytes(self.contents[version])
        beside.replace(path)

    def sha256(self, version: str) -> str:
        """Return the whole hash that a version is the beginning of."""
        return hashlib.sha256(self.contents[version]).hexdigest()

    def is_mixed(self, answer: Answer) -> bool:
        """Say whether anything in an answer does not belong to the version it names."""
        body, version = answer.body, answer.version
        if version not in self.factors or body["model_version"] != version:
            return True
        users, items = self.factors[version]
        scores = items @ users[body["user_id"]]
        expected = np.argsort(-scores)[:TOP]
        ids = [item["item_id"] for item in body["items"]]
        served = [item["score"] for item in body["items"]]
        return ids != expected.tolist() or not np.allclose(served, scores[expected], rtol=1e-4, atol=1e-5)


async def replace_repeatedly(models: TwoModels, path: Path, times: int, seconds: float) -> None:
    """Replace the file in turn by one model and the other."""
    versions = list(models.contents)
    for turn in range(times):
        await asyncio.to_thread(models.put, versions[(turn + 1) % 2], path)
        await asyncio.sleep(seconds)
