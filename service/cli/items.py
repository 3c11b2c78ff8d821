"""What the command check says of a file of items: its rows and columns, and how it fits the model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from service.model.catalog.assortment import coverage
from service.model.catalog.catalog import Catalog, Column
from service.model.catalog.values import date_text, frequent, present
from service.model.filtering.evaluation import described
from service.model.model import Model
from service.untrusted import escaped, with_quotations

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
        return _frequent(column)
    low, high = values.min(), values.max()
    return f"{low:g} to {high:g}" if column.kind == "number" else f"{date_text(int(low))} to {date_text(int(high))}"


def _frequent(column: Column) -> str:
    words = map(str, frequent(column, _SHOWN_WORDS))
    shown = [word[:_SHOWN_CHARACTERS] + "…" * (len(word) > _SHOWN_CHARACTERS) for word in words]
    more = len(column.words or ()) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
