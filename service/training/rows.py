"""Validation of rows: columns become ids, weights and times, and every bad row is marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.errors import TrainingError
from service.model.ids import MAX_ID_BYTES
from service.training.columns import ColumnNames
from service.untrusted import quote

LARGEST_WEIGHT = 1e15  # sums and squares of weights up to here stay finite in float32

_MICROSECONDS = 1e6  # in a second
#: Arrow's timestamp formats: without a zone, which means UTC, and with a zone.
_MOMENTS = (pa.timestamp("us"), pa.timestamp("us", "UTC"))
_SHOWN_CHARACTERS = 20

_TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
#: The required type of a Parquet column, and its check.
_IDS = ("ids are whole numbers or text", (pa.types.is_integer, *_TEXT))
_WEIGHTS = ("weights are numbers", (*_NUMBERS, *_TEXT))
_TIMES = ("times are timestamps, numbers or text", (pa.types.is_timestamp, pa.types.is_date, *_NUMBERS, *_TEXT))

Bools: TypeAlias = NDArray[np.bool_]
Float64: TypeAlias = NDArray[np.float64]
#: The number of bad rows, and a description of the first.
Faults: TypeAlias = tuple[int, Callable[[], str]]


@dataclass(slots=True)
class BadRows:
    """What to do with bad rows: raise, or skip and count them."""

    skip: bool = False
    count: int = 0
    first: str = ""

    def meet(self, faults: Faults) -> None:
        """Handle bad rows. Raises TrainingError."""
        count, describe = faults
        if not count:
            return
        if not self.skip:
            raise TrainingError(f"{describe()}; fix it, or skip bad rows with --skip-bad-rows.")
        self.first = self.first or str(TrainingError(describe()))
        self.count += count


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of one file.

    users, items: Arrow arrays of text, [rows]. weights, times: float64 [rows], or None if the file has no such column;
    a time is in seconds since 1970 or the file's own unit. bad: bool [rows]; a bad row's values are meaningless.
    as_read: the columns of weights and times before conversion to numbers.
    """

    users: Any
    items: Any
    weights: Float64 | None
    times: Float64 | None
    bad: Bools
    as_read: tuple[Any, Any] = (None, None)

    def good(self) -> Rows:
        """Return the good rows."""
        if not self.bad.any():
            return self
        kept = ~self.bad
        taken = pa.array(kept)
        weights, times = (None if column is None else column[kept] for column in (self.weights, self.times))
        return Rows(self.users.filter(taken), self.items.filter(taken), weights, times, self.bad[kept])

    def fault(self, row: int) -> str:
        """Describe what is wrong with a bad row."""
        for what, column in (("user", self.users), ("item", self.items)):
            if _bad_ids(column.slice(row, 1)).any():
                return f"the {what} is {_shown(column[row])}; an id is 1 to {MAX_ID_BYTES} bytes of text without NUL"
        weights, times = self.as_read
        if self.weights is not None and _bad_weights(self.weights[row : row + 1]).any():
            return f"the weight is {_shown(weights[row])}; it must be a number other than 0, of at most 1e15"
        return f"the time is {_shown(times[row])}; it must be a number or an ISO 8601 date"


def prove_types(schema: Any, columns: ColumnNames) -> None:
    """Raise TrainingError if a column has the wrong type."""
    expected = ((columns.user, _IDS), (columns.item, _IDS), (columns.weight, _WEIGHTS), (columns.time, _TIMES))
    for name, (what, kinds) in expected:
        if name is None:
            continue
        kind = schema.field(name).type
        held = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not any(is_kind(held) for is_kind in kinds):
            raise TrainingError(f"the column {name} is of type {kind}; {what}")


def check_batch(batch: Any, columns: ColumnNames) -> Rows:
    """Check one Arrow batch; whole-number ids become text, as in a text file."""
    users, items = (batch.column(name).cast(pa.string()) for name in (columns.user, columns.item))
    weights, times = (None if name is None else batch.column(name) for name in (columns.weight, columns.time))
    return _check(users, items, weights, times)


def _check(users: Any, items: Any, weights: Any | None, times: Any | None) -> Rows:
    """Turn Arrow columns as read into rows. Ids are text already; weights and times may be text too."""
    bad = _bad_ids(users) | _bad_ids(items)
    weighed = None if weights is None else _numbers(weights, (pa.float64(),), float)
    timed = None if times is None else _numbers(times, (pa.float64(), *_MOMENTS), _seconds)
    if weighed is not None:
        bad |= _bad_weights(weighed)
    if timed is not None:
        bad |= ~np.isfinite(timed)
    return Rows(users, items, weighed, timed, bad, (weights, times))


def _shown(scalar: Any) -> str:
    value = scalar.as_py()
    if not isinstance(value, str):
        return "missing" if value is None else quote(str(value))
    cut = "…" if len(value) > _SHOWN_CHARACTERS else ""
    return quote(f"{value[:_SHOWN_CHARACTERS]!r}{cut}") if value else "missing"


def _bad_ids(column: Any) -> Bools:
    length = pc.fill_null(pc.binary_length(column), 0).to_numpy(zero_copy_only=False)
    with_nul = pc.fill_null(pc.match_substring(column, "\0"), False).to_numpy(zero_copy_only=False)
    bad: Bools = (length == 0) | (length > MAX_ID_BYTES) | with_nul
    return bad


def _bad_weights(weights: Float64) -> Bools:
    bad: Bools = ~((weights != 0) & (np.abs(weights) <= LARGEST_WEIGHT))
    return bad


def _numbers(column: Any, forms: Sequence[Any], parse: Callable[[str], float]) -> Float64:
    """Return a column as float64, with NaN for invalid values.

    Arrow only parses a column whose values all have the same form; other text is left to ``parse``.
    """
    for form in forms:
        with suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):
            _cast(
                column[:1], form
            )  # checked first, because Arrow slowly reads to the end even if the first value fails
            return _cast(column, form)
    return np.array([_number(text, parse) for text in column.to_pylist()], np.float64)


def _cast(column: Any, form: Any) -> Float64:
    numbers = column.cast(form, safe=False)
    if form in _MOMENTS:
        numbers = pc.divide(numbers.cast(pa.int64()).cast(pa.float64(), safe=False), _MICROSECONDS)
    as_float: Float64 = pc.fill_null(numbers, float("nan")).to_numpy(zero_copy_only=False)
    return as_float


def _number(text: str | None, parse: Callable[[str], float]) -> float:
    try:
        return float("nan") if text is None else parse(text)
    except ValueError:
        return float("nan")


def _seconds(text: str) -> float:
    """Parse a time: a number, or a date with or without a time of day (UTC if it names no zone)."""
    try:
        return float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
