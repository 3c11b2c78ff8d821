"""Evaluation: the rows of a catalog of which an expression is true."""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import BadFilterError
from service.model.catalog.catalog import Catalog, Column, Kind, Words
from service.model.catalog.values import present
from service.model.factors import Int64
from service.model.filtering.expressions import Comparison, Expression, Not, Value
from service.model.scoring.ranking import Mask
from service.untrusted import escaped

_ORDERS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ONE_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_NAMES = 20

#: How the values of an attribute are written, and an example.
_WRITTEN: Mapping[Kind, str] = {
    "bool": "true or false",
    "number": "a number, such as 20",
    "date": "a date in quotes, such as '2024-05-31'",
    "text": "text in single quotes, such as 'horror'",
}


def evaluate(expression: Expression, catalog: Catalog) -> Mask:
    """Return where the expression is true, bool [rows + 1]: of each row, and last, of an item without a row.

    A missing value satisfies no comparison, not even ``!=``, and an item without a row has no value. NOT inverts, so it
    is true of what has no value. Raises BadFilterError for an attribute that is not there, or of another type.
    """
    if isinstance(expression, Comparison):
        return _compare(
            column_of(catalog, expression.attribute, f"character {expression.at} of the filter"), expression
        )
    if isinstance(expression, Not):
        return ~evaluate(expression.operand, catalog)
    combine = np.logical_and if expression.needs_all else np.logical_or
    mask = evaluate(expression.operands[0], catalog)
    for operand in expression.operands[1:]:
        combine(mask, evaluate(operand, catalog), out=mask)
    return mask


def column_of(catalog: Catalog, name: str, where: str) -> Column:
    """Return the attribute of this name, which was asked for ``where``. Raises BadFilterError."""
    column = catalog.columns.get(name)
    if column is not None:
        return column
    similar = get_close_matches(name, catalog.columns, n=1)
    names = [f"{escaped(each)} ({described(catalog.columns[each])})" for each in sorted(catalog.columns)]
    listed = ", ".join(names[:_MOST_NAMES]) + (f" and {len(names) - _MOST_NAMES} more" if names[_MOST_NAMES:] else "")
    hint = f" Did you mean {escaped(similar[0])}?" if similar else ""
    raise BadFilterError(f"There is no attribute {name!r} ({where}).{hint} There are: {listed or 'none'}.")


def described(column: Column) -> str:
    """Return the type of an attribute in words."""
    return f"list of {column.kind}s" if column.is_list else column.kind


def _compare(column: Column, comparison: Comparison) -> Mask:
    wanted = _wanted(column, comparison)
    if comparison.operator in _ORDERS:
        hits = _ORDERS[comparison.operator](column.values, wanted[0]) & present(column)
    else:
        hits = _are_any(column.values, wanted)
    rows = hits if column.starts is None else _any_in_list(hits, column.starts)
    if comparison.operator == "!=":
        rows = ~rows & (present(column) if column.starts is None else np.diff(column.starts) > 0)
    return np.append(rows, False)


def _are_any(values: NDArray[Any], wanted: NDArray[Any]) -> Mask:
    if len(wanted) == 1:
        equal: Mask = values == wanted[0]
        return equal
    return np.isin(values, wanted)


def _any_in_list(hits: Mask, starts: Int64) -> Mask:
    """Return which rows have a hit among their values."""
    before = np.concatenate(([0], np.cumsum(hits)))
    mask: Mask = before[starts[1:]] > before[starts[:-1]]
    return mask


def _wanted(column: Column, comparison: Comparison) -> NDArray[Any]:
    """Return the values of a comparison as the column has them; texts that no item has are dropped.

    Raises BadFilterError.
    """
    if comparison.operator in _ORDERS and column.kind in ("text", "bool"):
        raise _mismatch(column, comparison, "it can only be compared by =, != and IN")
    found = [_converted(column, comparison, value) for value in comparison.values]
    return np.array([each for each in found if each is not None], column.values.dtype)


def _converted(column: Column, comparison: Comparison, value: Value) -> float | None:
    if column.kind == "bool" and isinstance(value, bool):
        return value
    if column.kind == "number" and isinstance(value, float):
        return value
    if column.kind == "text" and isinstance(value, str) and column.words is not None:
        return _place_of(value, column.words)
    if column.kind == "date" and isinstance(value, str) and (moment := _moment(value)) is not None:
        return moment
    shown = repr(value) if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value).lower()
    raise _mismatch(column, comparison, f"compare it with {_WRITTEN[column.kind]}, not with {shown}")


def _mismatch(column: Column, comparison: Comparison, advice: str) -> BadFilterError:
    where = f"{escaped(comparison.attribute)} (character {comparison.at} of the filter)"
    return BadFilterError(f"The attribute {where} is {_kind_of(column)}; {advice}.")


def _kind_of(column: Column) -> str:
    return "text" if described(column) == "text" else f"a {described(column)}"


def _place_of(text: str, words: Words) -> int | None:
    """Return the number of a text, None if no item has it."""
    key, starts, memory = text.encode(errors="surrogatepass"), words.starts, words.text.data

    def at(place: int) -> bytes:
        return bytes(memory[starts.item(place) : starts.item(place + 1)])

    place = bisect_left(range(len(words)), key, key=at)
    return place if place < len(words) and at(place) == key else None


def _moment(text: str) -> int | None:
    """Return a date or time in ISO 8601 as microseconds since 1970; without a zone it is in UTC."""
    try:
        moment = datetime.fromisoformat(text)
        return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _ONE_MICROSECOND
    except (ValueError, OverflowError):
        return None
