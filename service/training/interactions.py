"""Interactions of users and items, the training data of ALS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from service.errors import TrainingError
from service.model.factors import Int64
from service.training.columns import ColumnNames
from service.training.data_files import DataFile, files_of
from service.training.rows import BadRows, Float64, Rows
from service.training.tables import read_rows

_CANONICAL_INT = r"^(0|-?[1-9][0-9]{0,18})$"
_USUAL_NAMES = ColumnNames()

#: Callback: bytes read so far, and in total.
OnRead = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class Interactions:
    """A users x items matrix of weights, the ids of its rows and columns, and the first time of each pair.

    user_ids, item_ids: int64 or str, [rows], ascending, unique. weights: float32 [users, items], positive if a user had
    an item; columns ascend within a row and do not repeat. first_met: float64 [pairs], in the order of
    ``weights.data``, in seconds since 1970 or the data's own unit; None unless all rows have times. rows: the number of
    rows read; skipped: the number of bad rows skipped; first_skipped: what was wrong with the first.
    """

    user_ids: NDArray[Any]
    item_ids: NDArray[Any]
    weights: csr_matrix[np.float32]
    first_met: Float64 | None = None
    rows: int = 0
    skipped: int = 0
    first_skipped: str = ""


def read_interactions(
    paths: Sequence[Path],
    names: ColumnNames = _USUAL_NAMES,
    *,
    skip_bad_rows: bool = False,
    on_read: OnRead = lambda _read, _total: None,
) -> Interactions:
    """Read CSV, TSV (plain or gzipped) and Parquet files, including those in directories, like :func:`read_files`."""
    where = ", ".join(map(str, paths))
    return read_files(files_of(paths), where, names, skip_bad_rows=skip_bad_rows, on_read=on_read)


def read_files(
    files: Sequence[DataFile],
    where: str,
    names: ColumnNames = _USUAL_NAMES,
    *,
    skip_bad_rows: bool = False,
    on_read: OnRead = lambda _read, _total: None,
) -> Interactions:
    """Read files as one data set; ``where`` names them in messages.

    The weights of a repeated pair are summed; without a weight column, every row weighs 1. The ids of a column are
    numbers if all are in canonical form ("42", not "042"), else text. Raises TrainingError, which names the first bad
    row unless bad rows are skipped.
    """
    bad, gathered = BadRows(skip_bad_rows), _Gathered()
    sizes = [file.size for file in files]
    for number, file in enumerate(files):
        for rows, read in read_rows(file, names, bad):
            gathered.add(rows)
            on_read(sum(sizes[:number]) + read, sum(sizes))
    if not gathered.rows:
        what = f"no valid row ({bad.first})" if bad.count else "no interactions"
        raise TrainingError(f"{where} has {what}.")
    return _assemble(gathered, bad, where)


@dataclass(slots=True)
class _Gathered:
    """Rows of all files so far, with ids as dictionary codes of four bytes each, however long they are."""

    users: list[Any] = field(default_factory=list)
    items: list[Any] = field(default_factory=list)
    weights: list[Float64] = field(default_factory=list)
    times: list[Float64] = field(default_factory=list)
    rows: int = 0
    timed: bool = True

    def add(self, rows: Rows) -> None:
        count = len(rows.bad)
        if not count:
            return
        self.rows += count
        self.users.append(rows.users.dictionary_encode())
        self.items.append(rows.items.dictionary_encode())
        self.weights.append(np.ones(count) if rows.weights is None else rows.weights)
        if rows.times is None:
            self.timed = False
        else:
            self.times.append(rows.times)


def _assemble(gathered: _Gathered, bad: BadRows, where: str) -> Interactions:
    user_ids, rows = _codes(gathered.users)
    item_ids, columns = _codes(gathered.items)
    for what, ids in (("user", user_ids), ("item", item_ids)):
        if len(ids) == 1:
            raise TrainingError(f"{where} has interactions of only one {what}, {ids[0]}; training needs at least two.")
    weights, first_met = _summed(gathered, rows * len(item_ids) + columns, (len(user_ids), len(item_ids)))
    return Interactions(user_ids, item_ids, weights, first_met, gathered.rows, bad.count, bad.first)


def _codes(chunks: list[Any]) -> tuple[NDArray[Any], Int64]:
    """Return the ids, ascending, and for each row the place of its id among them."""
    unified = pa.chunked_array(chunks).unify_dictionaries()
    values = _as_ids(unified.chunk(0).dictionary)
    order = pc.array_sort_indices(values)  # text by its bytes, which is the same order as by characters
    place = np.empty(len(order), np.int64)
    place[order.to_numpy()] = np.arange(len(order))
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in unified.chunks])
    return np.array(values.take(order).to_pylist()), place[codes]


def _as_ids(texts: Any) -> Any:
    """Turn unique ids into numbers, if every one is the text of a number."""
    if pc.all(pc.match_substring_regex(texts, _CANONICAL_INT)).as_py():
        with suppress(pa.ArrowInvalid):  # one is beyond int64
            return texts.cast(pa.int64())
    return texts


def _summed(gathered: _Gathered, keys: Int64, shape: tuple[int, int]) -> tuple[csr_matrix[np.float32], Float64 | None]:
    """Return the matrix of summed weights and the first time of each pair; a key is row * items + column."""
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    sums = np.add.reduceat(np.concatenate(gathered.weights)[order], starts)
    weights = np.maximum(sums, np.finfo(np.float32).tiny).astype(np.float32)  # otherwise the smallest would become 0
    rows, columns = np.divmod(keys[starts], shape[1])
    indptr = np.searchsorted(rows, np.arange(shape[0] + 1))
    matrix = csr_matrix((weights, columns.astype(np.int32), indptr.astype(np.int64)), shape)
    if not gathered.timed:
        return matrix, None
    return matrix, np.minimum.reduceat(np.concatenate(gathered.times)[order], starts)
