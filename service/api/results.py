"""The numbers of what was recommended, and what it took; the children for a strategy are looked up once."""

from __future__ import annotations

from service.api.answers import Strategy
from service.metrics import SCORED_STRATEGIES, STRATEGIES, Metrics
from service.model.scoring.ranking import Ranked


class Results:
    """Counts the lists of recommendations of one app, from any thread."""

    def __init__(self, metrics: Metrics) -> None:
        self._lists = {strategy: metrics.results.labels(strategy) for strategy in STRATEGIES}
        self._ranked = {
            strategy: (metrics.scanned_items.labels(strategy), metrics.top_score.labels(strategy))
            for strategy in SCORED_STRATEGIES
        }

    def count(self, strategy: Strategy, ranked: Ranked) -> None:
        """Count one list; an empty one has no top score."""
        self._lists[strategy].inc()
        if strategy == "popular":
            return
        scanned, top_score = self._ranked[strategy]
        scanned.observe(ranked.scanned)
        if len(ranked.scores):
            top_score.observe(ranked.scores.item(0))
