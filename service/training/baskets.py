"""Interactions as text with a user and all of the user's items on a line, as in the data sets of LightGCN."""

from __future__ import annotations

from collections.abc import Iterator
from io import BufferedReader
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.model.factors import Int64
from service.model.tables.streams import text_of
from service.training.account import Account
from service.training.columns import ColumnNames
from service.training.data_files import DataFile
from service.training.forms import TextForm
from service.training.rows import Place, Rows, check_batch

_ALONE = "a user without items"
_COLUMNS = ColumnNames("user", "item")


def read_baskets(
    file: DataFile, raw: BufferedReader, form: TextForm, account: Account, block_bytes: int
) -> Iterator[tuple[Rows, int]]:
    """Yield the good rows, one for each item on a line, with the number of bytes read so far. Raises TrainingError."""
    account.take({"user": "the first of each line", "item": "all others"})
    text, first = text_of(raw, form.encoding, form.skipped), 1 + form.skipped
    while lines := text.readlines(block_bytes):
        users, items, numbers = _pairs(lines, form.delimiter, first)
        alone = np.setdiff1d([first + row for row, line in enumerate(lines) if line.strip()], numbers)
        first += len(lines)
        if len(alone):
            account.leave_out({_ALONE: len(alone)}, f"{file.path}, line {alone[0]}: there are no items")
        batch = pa.RecordBatch.from_arrays([users, items], ["user", "item"])
        rows = check_batch(batch, _COLUMNS, account, _places(file, numbers))
        account.meet(rows.faults())
        yield rows.good(), raw.tell()


def _places(file: DataFile, numbers: Int64) -> Place:
    return lambda row: f"{file.path}, line {numbers[row]}"


def _pairs(lines: list[str], delimiter: str, first: int) -> tuple[Any, Any, Int64]:
    """Return the user, the item and the line of each pair; ``first`` is the number of the first line."""
    trimmed = pc.utf8_trim_whitespace(pa.array(lines, pa.string()))
    split = pc.utf8_split_whitespace(trimmed) if delimiter == " " else pc.split_pattern(trimmed, delimiter)
    fields = split.flatten()
    counts = pc.list_value_length(split).to_numpy()
    rows = np.repeat(np.arange(len(lines)), counts)
    starts = np.cumsum(counts) - counts
    items = np.flatnonzero(np.arange(len(fields)) != starts[rows])
    return fields.take(pa.array(starts[rows[items]])), fields.take(pa.array(items)), first + rows[items]
