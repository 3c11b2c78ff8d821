"""Lists of recommendations as they are counted, and their counters."""

from __future__ import annotations

import msgspec

from service.api.answers import Strategy
from service.model.rollout.arms import Counted
from service.observe.metrics import SCORED_STRATEGIES, STRATEGIES, Metrics


class Listed(msgspec.Struct, frozen=True, gc=False):
    """A list of recommendations, as it is counted; one without items has no top score.

    scanned, read: rows and bytes of the scan, see :class:`~service.model.scoring.ranking.Ranked`. empty: whether the
    list has no item, and the request did not leave any out.
    """

    strategy: Strategy
    scanned: int
    read: int
    top_score: float | None
    empty: bool


class Answer(msgspec.Struct, frozen=True, gc=False):
    """The body of an answer, and the list to be counted whenever it is given."""

    body: bytes
    listed: Listed | None = None


class Results:
    """Counts the recommendations of one app, from any thread; those of the candidate from its first one on."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._arms: dict[Counted, _ArmResults] = {"served": _ArmResults(metrics, "served")}

    def count(self, listed: Listed, arm: Counted = "served", *, computed: bool = True) -> None:
        """Count one list; ``computed`` is whether items were scanned for it now."""
        if arm not in self._arms:
            self._arms[arm] = _ArmResults(self._metrics, arm)
        self._arms[arm].count(listed, computed=computed)


class _ArmResults:
    """Counts the recommendations of one arm; the labelled metrics of a strategy are looked up once."""

    def __init__(self, metrics: Metrics, arm: Counted) -> None:
        self._empty = metrics.results_empty.labels(arm)
        self._lists = {strategy: metrics.results.labels(strategy, arm) for strategy in STRATEGIES}
        self._ranked = {
            strategy: (
                metrics.scanned_items.labels(strategy, arm),
                metrics.scanned_bytes.labels(strategy, arm),
                metrics.top_score.labels(strategy, arm),
            )
            for strategy in SCORED_STRATEGIES
        }

    def count(self, listed: Listed, *, computed: bool) -> None:
        self._lists[listed.strategy].inc()
        if listed.empty:
            self._empty.inc()
        if listed.strategy == "popular":
            return
        scanned, read, top_score = self._ranked[listed.strategy]
        if computed:
            scanned.observe(listed.scanned)
            read.inc(listed.read)
        if listed.top_score is not None:
            top_score.observe(listed.top_score)
