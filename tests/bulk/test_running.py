"""What the lists of a directory are made of, which a run that goes on compares."""

from __future__ import annotations

import numpy as np

from service.bulk.lists import Wanted
from service.bulk.running import job_of
from tests.support.helpers import Place, model_bytes, put


async def test_other_lists_are_another_job(place: Place) -> None:
    """Another model, other users, another n, other items, or with what users had."""
    users, mask = np.arange(5, dtype=np.int32), np.arange(30) < 7
    put(place.path, model_bytes(1))
    snapshot = await place.store().load()
    put(place.path, model_bytes(2))
    jobs = {
        job_of(snapshot, users, Wanted(10_000)),
        job_of(snapshot, users, Wanted(9_999)),  # with parts of as many users
        job_of(snapshot, users, Wanted(10_000, exclude_seen=False)),
        job_of(snapshot, users, Wanted(10_000, eligible=mask)),
        job_of(snapshot, users[1:], Wanted(10_000)),
        job_of(await place.store().load(), users, Wanted(10_000)),
    }
    assert len(jobs) == 6
    assert job_of(snapshot, users, Wanted(10_000, eligible=np.flatnonzero(mask).astype(np.int32))) in jobs
