"""Numbers in shared memory: counted in one process, summed in another, and kept when the first is gone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from service.observe.metrics import Metrics
from service.observe.sheets import Sheet, Sums, make_sheet


@contextmanager
def a_worker(sums: Sums) -> Iterator[Metrics]:
    """Count in a sheet that the sums have, for the length of a block; then the worker is gone."""
    descriptor = make_sheet()
    sheet = Sheet(descriptor)
    sums.add(sheet)
    try:
        yield Metrics(CollectorRegistry(), Sheet(descriptor))  # mapped once more, as another process has it
    finally:
        sums.retire(sheet)
        os.close(descriptor)


@pytest.fixture
def sums() -> Sums:
    """Return what adds up."""
    return Sums()


@pytest.fixture
def keeper(sums: Sums) -> Metrics:
    """Return the keeper's metrics."""
    return Metrics(CollectorRegistry(), sums)


def test_what_workers_count_is_summed(keeper: Metrics, sums: Sums) -> None:
    """Counters and histograms of all, the keeper's own too, series by series, also of labels that came later."""
    with a_worker(sums) as one, a_worker(sums) as other:
        for metrics in (keeper, one, other):
            metrics.results.labels("als", "served").inc()
            metrics.loop_lag_seconds.observe(0.002)
        assert keeper.registry.get_sample_value("als_results_total", {"strategy": "als", "arm": "served"}) == 3
        other.requests.labels("/later", "GET", "200", "served").inc()
        labels = {"route": "/later", "method": "GET", "status": "200", "arm": "served"}
        assert keeper.registry.get_sample_value("als_http_requests_total", labels) == 1
        assert keeper.registry.get_sample_value("als_event_loop_lag_seconds_bucket", {"le": "0.0025"}) == 3
        assert keeper.registry.get_sample_value("als_event_loop_lag_seconds_sum") == pytest.approx(0.006)


def test_what_a_worker_has_counted_outlasts_it(keeper: Metrics, sums: Sums) -> None:
    """Counters never fall; what was true of it alone, such as its connections, is gone with it."""
    for _ in range(2):
        with a_worker(sums) as worker:
            worker.accept_errors.inc()
            worker.connections.set_function(lambda: 7)
            worker.publish()
            cpu = keeper.registry.get_sample_value("process_cpu_seconds_total")
            assert keeper.registry.get_sample_value("als_connections") == 7
    assert keeper.registry.get_sample_value("als_accept_errors_total") == 2
    assert keeper.registry.get_sample_value("als_connections") == 0
    after = keeper.registry.get_sample_value("process_cpu_seconds_total")
    assert cpu is not None
    assert after is not None
    assert after >= cpu


def test_a_scrape_has_the_same_series_with_workers_as_without(keeper: Metrics, sums: Sums) -> None:
    """Nobody's query or alert has to know how many processes there are."""
    alone = Metrics(CollectorRegistry())
    with a_worker(sums) as worker:
        worker.publish()
        found, expected = (
            [line.rpartition(" ")[0] for line in generate_latest(metrics.registry).decode().splitlines()]
            for metrics in (keeper, alone)
        )
    assert found == expected
