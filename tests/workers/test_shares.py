"""The shares of the workers in what a host may do."""

from __future__ import annotations

import pytest

from service.app import query_shares
from service.settings import Settings


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_the_work_that_waits_is_that_of_one_process(threads: int, workers: int) -> None:
    """However many workers there are, they let no more wait together; each has a thread."""
    settings = Settings(query_threads=threads, queue_ms=50)
    each, queue_ms = query_shares(settings, workers)
    assert each >= 1
    assert queue_ms <= settings.queue_ms
    assert workers * each * queue_ms <= threads * settings.queue_ms + 1e-9
