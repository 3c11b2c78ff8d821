"""Values of attributes as JSON has them: those of one item, and the most frequent ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.model.catalog.catalog import NO_DATE, Catalog, Column

#: A date is text in ISO 8601, in UTC.
Value: TypeAlias = bool | float | str

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def attributes_of(catalog: Catalog, row: int) -> dict[str, Value | list[Value]]:
    """Return the values of one row by the names of the attributes, without those that are missing."""
    found: dict[str, Value | list[Value]] = {}
    for name, column in catalog.columns.items():
        start, end = (row, row + 1) if column.starts is None else column.starts[row : row + 2].tolist()
        own = replace(column, values=column.values[start:end])
        values = _listed(own, own.values[present(own)])
        if values:
            found[name] = values if column.is_list else values[0]
    return found


def frequent(column: Column, most: int) -> list[bool | str]:
    """Return the bools or texts that occur most often, the most frequent first; none for numbers and dates."""
    if column.kind not in {"bool", "text"}:
        return []
    counts = np.bincount(column.values[present(column)])
    first = (-counts).argsort(kind="stable")[:most]
    first = first[counts[first] > 0]
    return first.astype(bool).tolist() if column.words is None else [*column.words.at(first)]


def present(column: Column) -> NDArray[np.bool_]:
    """Return which values are there."""
    if column.kind == "number":
        there: NDArray[np.bool_] = ~np.isnan(column.values)
    else:
        there = column.values != NO_DATE if column.kind == "date" else column.values >= 0
    return there


def date_text(microseconds: int) -> str:
    """Return a date in ISO 8601, in UTC; without a time if it is the beginning of a day."""
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat().replace("+00:00", "Z").removesuffix("T00:00:00Z")


def _listed(column: Column, values: NDArray[Any]) -> list[Value]:
    """Return values that are there."""
    if column.words is not None:
        return [*column.words.at(values)]
    if column.kind == "date":
        return list(map(date_text, values.tolist()))
    return list(map(bool if column.kind == "bool" else float, values.tolist()))
