"""Counters and histograms for every request, about 2,000 CPU instructions cheaper than the library's.

The library's take locks and several calls. These rely on the interpreter lock: no method below can be interrupted by
another thread between reading a number and writing it back.
"""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector


class Count:
    """One series of a counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, amount: int = 1) -> None:
        """Count one more, or so many."""
        self.value += amount


class Distribution:
    """One series of a histogram: the count of numbers up to each bound and above the last, and their sum."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, number: float) -> None:
        """Count one number."""
        self.counts[bisect_left(self._bounds, number)] += 1
        self.sum += number


Series = TypeVar("Series", Count, Distribution)


class _Tally(Collector, Generic[Series]):
    def __init__(self, name: str, help: str, labels: Sequence[str], unit: str, registry: CollectorRegistry) -> None:  # noqa: A002 - the word Prometheus uses
        self._facts = name, help
        self._labels = labels
        self._unit = unit
        self._series: dict[tuple[str, ...], Series] = {}
        registry.register(self)

    def labels(self, *values: str) -> Series:
        """Return the series of these label values, creating it if necessary."""
        series = self._series.get(values)
        return self._series.setdefault(values, self._new()) if series is None else series

    def describe(self) -> Iterator[Metric]:
        """Yield the metric without series, so that the registry knows its names."""
        yield self._family()

    @abstractmethod
    def _family(self) -> Metric: ...

    @abstractmethod
    def _new(self) -> Series: ...


class TallyCounter(_Tally[Count]):
    """A counter with labels."""

    def collect(self) -> Iterator[Metric]:
        """Yield the counter with all its series."""
        family = self._family()
        for values, series in list(self._series.items()):
            family.add_metric(values, series.value)
        yield family

    def _family(self) -> CounterMetricFamily:
        return CounterMetricFamily(*self._facts, labels=self._labels, unit=self._unit)

    def _new(self) -> Count:
        return Count()


class TallyHistogram(_Tally[Distribution]):
    """A histogram with labels."""

    def __init__(
        self,
        name: str,
        help: str,  # noqa: A002 - as above
        labels: Sequence[str],
        unit: str,
        registry: CollectorRegistry,
        buckets: Sequence[float],
    ) -> None:
        self._bounds = tuple(buckets)
        self._names = [*(str(float(bound)) for bound in buckets), "+Inf"]
        super().__init__(name, help, labels, unit, registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the histogram with all its series."""
        family = self._family()
        for values, series in list(self._series.items()):
            family.add_metric(values, list(zip(self._names, accumulate(series.counts), strict=True)), series.sum)
        yield family

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(*self._facts, labels=self._labels, unit=self._unit)

    def _new(self) -> Distribution:
        return Distribution(self._bounds)
