"""What the command check says of a file of items: its rows and columns, and how it fits the model."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from service.model.catalog.assortment import coverage
from service.model.catalog.catalog import Catalog, Column
from service.model.filtering.evaluation import described, present
from service.model.model import Model
from service.untrusted import escaped, with_quotations

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN_WORDS, _SHOWN_CHARACTERS = 3, 30


def sentences(catalog: Catalog, model: Model | None) -> Iterator[str]:
    """Yield what became of rows and columns, and how the catalog fits the model, for people."""
    account = catalog.account
    for reason, count in account.left_out.items():
        yield f"rows left out, because they have {reason}: {count}"
    if account.repeated:
        yield f"rows that do not count, because a later one has the same id: {account.repeated}"
    yield from map(with_quotations, account.remarks)
    if catalog.titles is not None:
        yield f"items with a title: {np.count_nonzero(np.diff(catalog.titles.starts))}"
    if catalog.available is not None:
        yield f"items that are not available: {np.count_nonzero(~catalog.available)}"
    if model is not None:
        fit = coverage(catalog, model)
        yield f"items of the model that are listed: {fit.listed} of {fit.items}"
        yield f"items that are not in the model: {fit.unknown}"


def columns_table(catalog: Catalog) -> Table:
    """Build the table of attributes: for each its type, what is missing, and examples of its values."""
    table = Table("attribute", "type", "missing", "values", title="Attributes", title_justify="left", box=box.SIMPLE)
    for name, column in catalog.columns.items():
        described_values = Text(escaped(_values(column)))
        table.add_row(Text(escaped(name)), described(column), str(_count_missing(column)), described_values)
    return table


def _count_missing(column: Column) -> int:
    """Return the number of items without a value."""
    if column.starts is not None:
        return int(np.count_nonzero(np.diff(column.starts) == 0))
    return int(np.count_nonzero(~present(column)))


def _values(column: Column) -> str:
    """Describe the values that occur: the range of numbers and dates, and the most frequent texts."""
    values = column.values[present(column)]
    if not len(values):
        return ""
    if column.kind == "bool":
        return f"{np.count_nonzero(values)} true, {np.count_nonzero(values == 0)} false"
    if column.kind == "text":
        return _frequent(column, np.bincount(values))
    low, high = values.min(), values.max()
    return f"{low:g} to {high:g}" if column.kind == "number" else f"{_date(low)} to {_date(high)}"


def _frequent(column: Column, counts: np.ndarray[tuple[int], np.dtype[np.int64]]) -> str:
    assert column.words is not None
    first = (-counts).argsort(kind="stable")[:_SHOWN_WORDS]
    shown = [word[:_SHOWN_CHARACTERS] + "…" * (len(word) > _SHOWN_CHARACTERS) for word in column.words.at(first)]
    more = len(column.words) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _date(microseconds: np.int64) -> str:
    moment = _EPOCH + timedelta(microseconds=int(microseconds))
    return moment.isoformat(timespec="auto").removesuffix("+00:00").removesuffix("T00:00:00")
