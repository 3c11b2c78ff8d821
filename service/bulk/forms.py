"""The forms of the files: a row of Parquet, or a line of JSON, for each user."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

import numpy as np

from service.api.answers import ScoredItem, UserResult, encode
from service.api.decimals import compact
from service.bulk.lists import UserList
from service.model.ids import Ids
from service.model.model import Model

if TYPE_CHECKING:
    import pyarrow as pa

#: Writes the lists of some users to a file.
Write: TypeAlias = Callable[[Iterable[UserList], BinaryIO], None]


def json_lines(model: Model) -> Write:
    """Return what writes each list as over HTTP, in a line of JSON."""

    def write(lists: Iterable[UserList], file: BinaryIO) -> None:
        for found in lists:
            scored = map(ScoredItem, model.item_ids.at(found.ranked.rows), compact(found.ranked.scores))
            result = UserResult(model.user_ids.of(found.user), found.strategy, list(scored))
            file.write(encode(result) + b"\n")

    return write


def parquet(model: Model) -> Write:
    """Return what writes each list as a row: user_id, strategy, and items, a list of item_id and score."""
    import pyarrow as pa  # imported here, because it takes time and memory, and lines of JSON do not need it

    return partial(_write_parquet, model, _names(model.item_ids, pa.array))


def _write_parquet(model: Model, names: pa.Array, lists: Iterable[UserList], file: BinaryIO) -> None:
    import pyarrow as pa
    from pyarrow import parquet as pq

    all_lists = list(lists)
    lengths = [len(found.ranked.rows) for found in all_lists]
    rows = np.concatenate([found.ranked.rows for found in all_lists])
    scores = np.concatenate([found.ranked.scores for found in all_lists])
    items = pa.StructArray.from_arrays([names.take(pa.array(rows)), pa.array(scores)], ["item_id", "score"])
    users = np.array([found.user for found in all_lists], np.int64)
    table = pa.table(
        {
            "user_id": _names(Ids(model.user_ids.values[users]), pa.array),
            "strategy": pa.array([found.strategy for found in all_lists]).dictionary_encode(),
            "items": pa.ListArray.from_arrays(pa.array(np.cumsum([0, *lengths]), pa.int32()), items),
        }
    )
    pq.write_table(table, file, compression="zstd")


def _names(ids: Ids, array: Callable[..., pa.Array]) -> pa.Array:
    """Return ids as an array of Arrow: int64 or text."""
    return array(ids.values) if ids.kind == "int" else array(ids.values).cast("string")
