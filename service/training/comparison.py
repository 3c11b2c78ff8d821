"""Which of two models is better, and how certain that is: differences per user, and a paired bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.model.factors import Id
from service.training.evaluation import METRICS, Judged

#: The number of resamplings, which gives the ends of an interval to a few percent of its width.
_RESAMPLES = 1000


class Difference(msgspec.Struct, frozen=True):
    """By how much the mean of a metric of one model exceeds that of another, over the users whom both know.

    margin: half the width of the 95 % confidence interval.
    """

    metric: str
    users: int
    difference: float
    margin: float

    @property
    def certain(self) -> bool:
        """Return whether the interval excludes zero."""
        return abs(self.difference) > self.margin


@dataclass(frozen=True, slots=True)
class Scored:
    """What users got of a model: their ids, and how good it was."""

    users: Sequence[Id]
    judged: Judged


def compare(first: Scored, other: Scored, metric: str, seed: int = 0) -> Difference | None:
    """Return by how much ``other`` is better than ``first``; None if no user was evaluated with both.

    Users are resampled with their two values together, so what is hard for both models cancels out (Efron, Tibshirani:
    An Introduction to the Bootstrap, 1993; for rankings Sakai: Evaluating Evaluation Metrics Based on the Bootstrap,
    2006).
    """
    ours, theirs = _of_both(first, other, metric)
    if not len(ours):
        return None
    gains = theirs - ours
    random = np.random.default_rng(seed)
    means = [gains[random.integers(len(gains), size=len(gains))].mean() for _ in range(_RESAMPLES)]
    low, high = np.quantile(means, (0.025, 0.975))
    return Difference(metric, len(gains), float(gains.mean()), float(high - low) / 2)


def relative_drop(current: Scored, new: Scored, metric: str) -> float | None:
    """Return the share by which a metric is lower with the new model, on average of the users whom both know.

    It is negative if the new model is better, and None if the current one has no hit with any of these users.
    """
    before, after = _of_both(current, new, metric)
    return float(1 - after.mean() / before.mean()) if before.any() else None


def _of_both(first: Scored, other: Scored, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a metric of each user whom both models know, by either."""
    _, ours, theirs = np.intersect1d(np.array(first.users), np.array(other.users), return_indices=True)
    row = METRICS.index(metric)
    return first.judged.values[row, ours], other.judged.values[row, theirs]
