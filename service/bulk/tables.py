"""Lists as tables of Arrow: for Parquet files, and for engines such as Spark, which give out users in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from service.bulk.lists import UserList, Wanted, lists_of, part_users
from service.model.factors import Int32
from service.model.ids import Ids
from service.model.model import Model
from service.model.scoring.ranking import NO_ROWS
from service.model.storage.snapshot import open_snapshot

#: Returns lists as rows: user_id, strategy, and items, a list of item_id and score.
Tabulate: TypeAlias = Callable[[Iterable[UserList]], pa.Table]


def tabulation(model: Model) -> Tabulate:
    """Return what makes a table of some lists of a model."""
    return partial(_tabulate, model, _names(model.item_ids))


def recommended(
    snapshot: Path, users: Int32, wanted: Wanted, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Yield the lists of the user rows that ``users`` has at the places in the first column of each batch.

    A process opens a snapshot directory once, however often it is asked. Raises SnapshotDamagedError, OSError.
    """
    model, tabulate = _opened(snapshot)
    size = part_users(wanted.n)
    for batch in batches:
        rows = users[batch.column(0).to_numpy()]
        for start in range(0, len(rows), size):
            yield from tabulate(lists_of(model, rows[start : start + size], wanted)).to_batches()


@cache
def _opened(snapshot: Path) -> tuple[Model, Tabulate]:
    model = open_snapshot(snapshot).model
    return model, tabulation(model)


def _tabulate(model: Model, names: pa.Array, lists: Iterable[UserList]) -> pa.Table:
    all_lists = list(lists)
    lengths = [len(found.ranked.rows) for found in all_lists]
    rows = np.concatenate([NO_ROWS, *(found.ranked.rows for found in all_lists)])
    scores = np.concatenate([np.zeros(0, np.float32), *(found.ranked.scores for found in all_lists)])
    items = pa.StructArray.from_arrays([names.take(pa.array(rows)), pa.array(scores)], ["item_id", "score"])
    users = np.array([found.user for found in all_lists], np.int64)
    return pa.table(
        {
            "user_id": _names(Ids(model.user_ids.values[users])),
            "strategy": pa.array([found.strategy for found in all_lists], pa.string()),
            "items": pa.ListArray.from_arrays(pa.array(np.cumsum([0, *lengths]), pa.int32()), items),
        }
    )


def _names(ids: Ids) -> pa.Array:
    """Return ids as an array of Arrow: int64 or text."""
    return pa.array(ids.values) if ids.kind == "int" else pa.array(ids.values).cast("string")
