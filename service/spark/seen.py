"""What users already had, from a table of interactions, as pairs of rows of a converted model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.errors import TrainingError
from service.model.factors import Int64
from service.model.raw import RawSeen
from service.model.tables.streams import first_bytes
from service.spark.layout import SparkModel
from service.spark.parquet import opened_parquet
from service.training.account import Account
from service.training.columns import ColumnNames
from service.training.data_files import DataFile
from service.training.forms import form_of
from service.training.interactions import Interactions, read_files
from service.training.layout import Layout

_PARQUET_MAGIC = b"PAR1"


@dataclass(frozen=True, slots=True)
class Side:
    """The users or the items of a model: Spark's numbers and the ids, both [rows]."""

    numbers: Int64
    ids: Int64 | list[str]


@dataclass(frozen=True, slots=True)
class Had:
    """The seen items; left_out: how many pairs are of users or items that the model does not have."""

    seen: RawSeen
    left_out: int


def read_seen(
    where: str,
    tables: Sequence[DataFile],
    model: SparkModel,
    users: Side,
    items: Side,
    account: Account,
    on_read: Callable[[int, int], object] = lambda _done, _total: None,
) -> Had:
    """Read interactions like those for training; repeated pairs are summed.

    If the files have the columns that Spark was trained on, users and items are Spark's numbers, otherwise ids. Raises
    TrainingError.
    """
    names = ColumnNames(model.user_column, model.item_column)
    trained_on = _has_columns(tables[0], names)
    layout = Layout(names) if trained_on else Layout()
    found = read_files(tables, where, layout, account, on_read=on_read)
    named = [(found.user_ids, users), (found.item_ids, items)]
    rows, columns = (_rows(ids, side.numbers if trained_on else side.ids) for ids, side in named)
    return _pairs(found, rows, columns, (len(users.ids), len(items.ids)))


def _has_columns(table: DataFile, names: ColumnNames) -> bool:
    if first_bytes(table, len(_PARQUET_MAGIC)) == _PARQUET_MAGIC:
        with opened_parquet(table, ()) as parquet:
            return set(names.given()) <= set(parquet.schema_arrow.names)
    with suppress(TrainingError):  # the header lacks one of them
        form = form_of(table, Layout(names), Account())
        return form is not None and form.titled
    return False


def _rows(wanted: NDArray[Any], ids: Int64 | list[str]) -> Int64:
    """Return the row of each wanted id, -1 if there is none; 42 and "42" are the same id."""
    values, among = pa.array(wanted), pa.array(ids)
    if values.type != among.type:
        values, among = values.cast(pa.string()), among.cast(pa.string())
    found: Int64 = pc.index_in(values, value_set=among).fill_null(-1).to_numpy().astype(np.int64)
    return found


def _pairs(found: Interactions, rows: Int64, columns: Int64, shape: tuple[int, int]) -> Had:
    matrix = found.weights.tocoo()
    row, column = rows[matrix.row], columns[matrix.col]
    known = (row >= 0) & (column >= 0)
    seen = RawSeen("coo", shape, matrix.data[known], row=row[known], col=column[known])
    return Had(seen, int(len(known) - known.sum()))
