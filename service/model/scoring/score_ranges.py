"""The score ranges of a model, measured at import on a sample of users."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from service.model.factors import Float32
from service.model.model import Model
from service.model.scoring import scoring

SAMPLED_USERS = 200
_ITEMS_PER_USER = 100
_RECOMMENDED = 20
_BINS = 40

#: The single-number statistics of a Range.
STATISTICS = ("min", "max", "mean", "std", "p1", "p50", "p99")


class Range(msgspec.Struct, frozen=True):
    """The spread of some numbers: their extremes, mean, standard deviation, percentiles and a histogram.

    histogram: counts in 40 equal parts from minimum to maximum; empty for models imported by older versions.
    """

    min: float
    max: float
    mean: float
    std: float
    p1: float
    p50: float
    p99: float
    histogram: tuple[int, ...] = ()

    def statistics(self) -> dict[str, float]:
        """Return STATISTICS by name."""
        return {name: getattr(self, name) for name in STATISTICS}


class ScoreRanges(msgspec.Struct, frozen=True):
    """The spread of a model's scores.

    individual: of random (user, item) pairs. recommendation: of the 20 best items of each sampled user, without seen
    items, as served by default. popularity: the number of users of each item; null if unknown.
    """

    individual: Range
    recommendation: Range
    popularity: Range | None

    def normalize(self, score: float) -> float:
        """Map a score to [0, 1]: the 1st percentile of recommendations and less to 0, the 99th and more to 1.

        If both are equal, that score maps to 0.5, lower ones to 0 and higher ones to 1.
        """
        low, high = self.recommendation.p1, self.recommendation.p99
        if low == high:
            return 0.5 if score == low else float(score > low)
        return min(1.0, max(0.0, (score - low) / (high - low)))


def analyse(model: Model, seed: int = 0) -> ScoreRanges:
    """Measure the score ranges on 200 users, or all if there are fewer; the same seed gives the same answer."""
    rng = np.random.default_rng(seed)
    count = len(model.user_factors)
    users = rng.choice(count, min(SAMPLED_USERS, count), replace=False, shuffle=False)
    return ScoreRanges(
        individual=_range(_individual(model, users.tolist(), rng)),
        recommendation=_range(_recommended(model, users.tolist())),
        popularity=_range(model.popularity.users) if model.popularity else None,
    )


def _individual(model: Model, users: list[int], rng: np.random.Generator) -> Float32:
    items = rng.integers(0, len(model.item_factors), (len(users), _ITEMS_PER_USER), dtype=np.int32)
    return np.concatenate([scoring.item_scores(model, user, row) for user, row in zip(users, items, strict=True)])


def _recommended(model: Model, users: list[int]) -> Float32:
    """Return the scores of recommendations, or of all items if every sampled user has had everything."""
    unseen = np.concatenate([scoring.recommend(model, user, _RECOMMENDED).scores for user in users])
    if len(unseen):
        return unseen
    return np.concatenate([scoring.recommend(model, user, _RECOMMENDED, exclude_seen=False).scores for user in users])


def _range(numbers: ArrayLike) -> Range:
    exact = np.asarray(numbers, np.float64)
    p1, p50, p99 = np.percentile(exact, (1, 50, 99)).tolist()
    return Range(
        min=float(exact.min()),
        max=float(exact.max()),
        mean=float(exact.mean()),
        std=float(exact.std()),
        p1=p1,
        p50=p50,
        p99=p99,
        histogram=_histogram(exact),
    )


def _histogram(numbers: NDArray[np.float64]) -> tuple[int, ...]:
    # Not np.histogram, which rejects numbers that are too close together for its edges.
    low, high = numbers.min(), numbers.max()
    parts = (numbers - low) / (high - low) * _BINS if high > low else np.zeros(len(numbers))
    counts = np.bincount(np.minimum(parts.astype(np.int64), _BINS - 1), minlength=_BINS)
    return tuple(counts.tolist())
