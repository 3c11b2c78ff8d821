"""The forms of the files: a row of Parquet, or a line of JSON, for each user."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import BinaryIO, TypeAlias

from service.api.answers import ScoredItem, UserResult, encode
from service.api.decimals import compact
from service.bulk.lists import UserList
from service.model.model import Model

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
    # Imported here, because it takes time and memory, and lines of JSON do not need it.
    from pyarrow import parquet as pq

    from service.bulk.tables import tabulation

    tabulate = tabulation(model)
    return lambda lists, file: pq.write_table(tabulate(lists), file, compression="zstd")
