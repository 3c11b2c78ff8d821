"""A run: the missing parts, on all threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.bulk.forms import Write
from service.bulk.lists import Wanted, lists_of, part_users
from service.bulk.output import Job, Output
from service.model.factors import Int32
from service.model.model import Model
from service.model.scoring.ranking import mask_of
from service.model.storage.snapshot import Snapshot


def job_of(snapshot: Snapshot, users: Int32, wanted: Wanted) -> Job:
    """Describe what the lists of these user rows are made of."""
    items = len(snapshot.model.item_ids)
    eligible = np.ones(items, np.bool_) if wanted.eligible is None else mask_of(wanted.eligible, items)
    model, size = snapshot.manifest.source.sha256, part_users(wanted.n)
    return Job(model, wanted.n, wanted.exclude_seen, _digest(eligible), _digest(users), size)


def _digest(array: NDArray[Any]) -> str:
    return sha256(np.ascontiguousarray(array).data).hexdigest()


def run(
    model: Model,
    users: Int32,
    wanted: Wanted,
    output: Output,
    write: Write,
    *,
    threads: int,
    on_done: Callable[[int, int], object] = lambda _done, _total: None,
) -> None:
    """Write the lists of these user rows as far as they are missing. ``on_done`` gets the users done, and all.

    Raises OutputError, and what ``on_done`` raises to end the run.
    """
    size = part_users(wanted.n)
    # Without users there is one part, too: engines take the columns of a table from its files.
    parts = [users[start : start + size] for start in range(0, max(1, len(users)), size)]
    missing = output.missing(len(parts))
    done = len(users) - sum(len(parts[number]) for number in missing)
    on_done(done, len(users))
    with ThreadPoolExecutor(threads) as executor:
        running = {
            executor.submit(_write_part, model, parts[each], wanted, output, write, each): len(parts[each])
            for each in missing
        }
        try:
            for ended in as_completed(running):
                ended.result()
                done += running[ended]
                on_done(done, len(users))
        except BaseException:  # parts that have not begun are not waited for
            executor.shutdown(wait=False, cancel_futures=True)
            raise
    output.finish()


def _write_part(model: Model, users: Int32, wanted: Wanted, output: Output, write: Write, number: int) -> None:
    output.write(number, partial(write, lists_of(model, users, wanted)))
