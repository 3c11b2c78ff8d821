"""Interactions of users and items, the training data of ALS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from service.model.tables import ids
from service.training.account import Account
from service.training.counting import Counting
from service.training.data_files import DataFile, files_of
from service.training.layout import Layout
from service.training.rows import Float64, Rows
from service.training.tables import read_rows
from service.untrusted import quote

_AS_DETECTED = Layout()
_AS_IT_IS = Counting()
_TINY = float(np.finfo(np.float32).tiny)

#: Callback: bytes read so far, and in total.
OnRead = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class Interactions:
    """A users x items matrix of weights, the ids of its rows and columns, and the first time of each pair.

    user_ids, item_ids: int64 or str, [rows], ascending, unique. weights: float32 [users, items], positive if a user had
    an item; columns ascend within a row and do not repeat. first_met: float64 [pairs], in the order of
    ``weights.data``, in seconds since 1970 or the data's own unit; None unless all rows have times. rows: the number of
    rows read; account: what became of all others.
    """

    user_ids: NDArray[Any]
    item_ids: NDArray[Any]
    weights: csr_matrix[np.float32]
    first_met: Float64 | None = None
    rows: int = 0
    account: Account = field(default_factory=Account)
    counting: Counting = _AS_IT_IS


def read_interactions(
    paths: Sequence[Path],
    layout: Layout = _AS_DETECTED,
    *,
    skip_bad_rows: bool = False,
    counting: Counting = _AS_IT_IS,
    on_read: OnRead = lambda _read, _total: None,
) -> Interactions:
    """Read text and Parquet files, including those in directories, like :func:`read_files`."""
    where = ", ".join(map(str, paths))
    account = Account(skip_bad_rows)
    return read_files(files_of(paths, account), where, layout, account, counting=counting, on_read=on_read)


def read_files(
    files: Sequence[DataFile],
    where: str,
    layout: Layout,
    account: Account,
    *,
    counting: Counting = _AS_IT_IS,
    on_read: OnRead = lambda _read, _total: None,
) -> Interactions:
    """Read files as one data set; ``where`` names them in messages, ``account`` says what to do with bad rows.

    The weights of a repeated pair are summed; without a weight column, every row weighs 1. The ids of a column are
    numbers if all are in canonical form ("42", not "042"), else text. Without the times of some rows, none has one.
    Raises TrainingError, which names the first bad row unless bad rows are skipped.
    """
    gathered = _Gathered()
    sizes = [file.size for file in files]
    for number, file in enumerate(files):
        for rows, read in read_rows(file, layout, account):
            gathered.add(rows)
            on_read(sum(sizes[:number]) + read, sum(sizes))
    if not gathered.rows:
        what = f"no valid row ({account.first})" if account.count else "no interactions"
        raise TrainingError(f"{where} has {what}.")
    found = _assemble(gathered, account, where, counting)
    _remark_texts(files, layout, found)
    return found


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
        self.users.append(rows.users)
        self.items.append(rows.items)
        self.weights.append(np.ones(count) if rows.weights is None else rows.weights)
        if rows.times is None:
            self.timed = False
        else:
            self.times.append(rows.times)


def _assemble(gathered: _Gathered, account: Account, where: str, counting: Counting) -> Interactions:
    user_ids, rows = _codes(gathered.users)
    item_ids, columns = _codes(gathered.items)
    for what, known in (("user", user_ids), ("item", item_ids)):
        if len(known) == 1:
            raise TrainingError(
                f"{where} has interactions of only one {what}, {known[0]}; training needs at least two."
            )
    if counting.half_life is not None and account.untimed:
        raise TrainingError(f"A half-life needs the times of all rows: {account.untimed}.")
    times = np.concatenate(gathered.times) if gathered.timed else None
    counted = counting.count(np.concatenate(gathered.weights), times)
    weights, first_met = _summed(counted, times, rows * len(item_ids) + columns, (len(user_ids), len(item_ids)))
    return Interactions(user_ids, item_ids, weights, first_met, gathered.rows, account, counting)


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
    return texts.cast(pa.int64()) if ids.are_numbers(texts).all() else texts


def _remark_texts(files: Sequence[DataFile], layout: Layout, found: Interactions) -> None:
    """Name the first id that is not a number where most ids are, because it makes all of them text."""
    for what, texts in (("user", found.user_ids), ("item", found.item_ids)):
        if texts.dtype.kind == "U":
            numbers = ids.are_numbers(pa.array(texts.tolist()))
            if 2 * numbers.sum() > len(numbers):
                others = pa.array(texts[~numbers].tolist())
                found.account.remark(
                    f"{len(others)} of {len(texts)} {what} ids are not whole numbers, so all are text; "
                    f"the first is {_first_of(files, layout, what, others)}"
                )


def _first_of(files: Sequence[DataFile], layout: Layout, what: str, wanted: Any) -> str:
    """Return the first of these ids and where it is, from a second look at the files."""
    for file in files:
        for rows, _ in read_rows(file, layout, Account(skip=True)):
            column = rows.users if what == "user" else rows.items
            is_wanted = pc.is_in(column.dictionary, value_set=wanted).to_numpy(zero_copy_only=False)
            places = np.flatnonzero(is_wanted[column.indices.to_numpy()])
            if len(places):
                row = int(places[0])
                return f"{quote(repr(column[row].as_py()))} in {rows.place(row)}"
    raise AssertionError("an id that was read is not there any more")


def _summed(
    weights: Float64, times: Float64 | None, keys: Int64, shape: tuple[int, int]
) -> tuple[csr_matrix[np.float32], Float64 | None]:
    """Return the matrix of summed weights and the first time of each pair; a key is row * items + column."""
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    sums = np.add.reduceat(weights[order], starts)
    sums = np.where(np.abs(sums) < _TINY, np.sign(sums) * _TINY, sums)  # otherwise the smallest would become 0
    rows, columns = np.divmod(keys[starts], shape[1])
    indptr = np.searchsorted(rows, np.arange(shape[0] + 1))
    matrix = csr_matrix((sums.astype(np.float32), columns.astype(np.int32), indptr.astype(np.int64)), shape)
    return matrix, None if times is None else np.minimum.reduceat(times[order], starts)
