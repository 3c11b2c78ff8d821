"""Validation of rows: columns become ids, weights and times, and every bad row is marked with its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.errors import TrainingError
from service.model.ids import MAX_ID_BYTES
from service.model.tables import ids
from service.model.tables.times import are_times, as_floats, seconds
from service.training.account import Account, Faults
from service.training.columns import ColumnNames, option
from service.untrusted import quote

LARGEST_WEIGHT = 1e15  # sums and squares of weights up to here stay finite in float32

_SHOWN_CHARACTERS = 20
_WEIGHTS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_string,
            pa.types.is_large_string, pa.types.is_string_view)  # fmt: skip

#: Why a row is bad, by its mark; 0 is a good row.
_GOOD, _HEADER, _NO_USER, _NO_ITEM, _BAD_USER, _BAD_ITEM, _BAD_WEIGHT = range(7)
_REASONS = {
    _HEADER: "the header again",
    _NO_USER: "no user",
    _NO_ITEM: "no item",
    _BAD_USER: "a user id that is too long",
    _BAD_ITEM: "an item id that is too long",
    _BAD_WEIGHT: "no weight, or not a number other than 0",
}

Bools: TypeAlias = NDArray[np.bool_]
Float64: TypeAlias = NDArray[np.float64]
#: Where a row is: "data.csv, line 7".
Place: TypeAlias = Callable[[int], str]


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of one file.

    users, items: Arrow dictionary arrays of text, [rows]. weights, times: float64 [rows], or None if there are none; a
    time is in seconds since 1970 or the file's own unit. marks: uint8 [rows], not 0 for a bad row, whose values are
    meaningless. place: where a row is. as_read: the column of weights before conversion to numbers.
    """

    users: Any
    items: Any
    weights: Float64 | None
    times: Float64 | None
    marks: NDArray[np.uint8]
    place: Place
    as_read: Any = None

    def __len__(self) -> int:
        return len(self.marks)

    @property
    def bad(self) -> Bools:
        """Return bool [rows]."""
        bad: Bools = self.marks != _GOOD
        return bad

    def good(self) -> Rows:
        """Return the good rows."""
        kept = ~self.bad
        if kept.all():
            return self
        taken, numbers, place = pa.array(kept), np.flatnonzero(kept), self.place
        return replace(
            self,
            # Encoded again, so that no id is left of which every row is bad.
            users=self.users.filter(taken).dictionary_decode().dictionary_encode(),
            items=self.items.filter(taken).dictionary_decode().dictionary_encode(),
            weights=None if self.weights is None else self.weights[kept],
            times=None if self.times is None else self.times[kept],
            marks=self.marks[kept],
            place=lambda row: place(int(numbers[row])),
        )

    def reasons(self) -> dict[str, int]:
        """Return the number of bad rows by reason."""
        counts = np.bincount(self.marks, minlength=len(_REASONS) + 1)
        return {reason: int(counts[mark]) for mark, reason in _REASONS.items()}

    def faults(self) -> Faults:
        """Return how many rows are bad, by reason, and where the first is."""
        bad = self.bad
        return (
            self.reasons() if bad.any() else {}
        ), lambda: f"{self.place(int(bad.argmax()))}: {self.fault(int(bad.argmax()))}"

    def fault(self, row: int) -> str:
        """Describe what is wrong with a bad row."""
        mark = int(self.marks[row])
        if mark == _HEADER:
            return "the header is repeated"
        if mark == _BAD_WEIGHT:
            return f"the weight is {_shown(self.as_read[row])}; it must be a number other than 0, of at most 1e15"
        what, column = ("user", self.users) if mark in {_NO_USER, _BAD_USER} else ("item", self.items)
        return f"the {what} is {_shown(column[row])}; an id is 1 to {MAX_ID_BYTES} bytes of text without NUL"


def prove_types(schema: Any, columns: ColumnNames, account: Account) -> ColumnNames:
    """Return the columns without times that cannot be read. Raises TrainingError if another has the wrong type."""
    kinds = {name: schema.field(name).type for name in columns.given()}
    for name in (columns.user, columns.item):
        if name is not None and not ids.are_ids(kinds[name]):
            raise TrainingError(f"the column {name} is of type {kinds[name]}; ids are whole numbers or text")
    if columns.weight and not _are_weights(kinds[columns.weight]):
        raise TrainingError(
            f"the column {columns.weight} is of type {kinds[columns.weight]}; weights are numbers: to do without, "
            f'give --weight-column ""{option("columns", "weight=")}'
        )
    if columns.time and not are_times(kinds[columns.time]):
        account.lose_times(f"the column {columns.time} is of type {kinds[columns.time]}, which is not a time")
        return replace(columns, time=None)
    return columns


def check_batch(batch: Any, columns: ColumnNames, account: Account, place: Place) -> Rows:
    """Check one Arrow batch of a file."""
    users, items = (_ids(batch.column(name), name) for name in columns.given()[:2])
    marks = np.zeros(len(users), np.uint8)
    weights = None if columns.weight is None else _weights(batch.column(columns.weight))
    if weights is not None:
        marks[~((weights != 0) & (np.abs(weights) <= LARGEST_WEIGHT))] = _BAD_WEIGHT
    for column, missing, bad in ((items, _NO_ITEM, _BAD_ITEM), (users, _NO_USER, _BAD_USER)):
        marks[ids.invalid(column)] = bad
        if column.null_count:
            marks[column.is_null().to_numpy(zero_copy_only=False)] = missing
    marks[_repeated(users, columns.user) & _repeated(items, columns.item)] = _HEADER
    as_read = None if columns.weight is None else batch.column(columns.weight)
    rows = Rows(users, items, weights, None, marks, place, as_read)
    return rows if columns.time is None else _timed(rows, batch.column(columns.time), account)


def _ids(column: Any, name: str) -> Any:
    try:
        return ids.clean(column, name)
    except ids.NotTextError as error:
        raise TrainingError(str(error)) from None


def _timed(rows: Rows, column: Any, account: Account) -> Rows:
    """Add the times of rows, unless one that is needed cannot be read."""
    if account.untimed:
        return rows
    times = seconds(column)
    unread = ~np.isfinite(times) & ~rows.bad
    if unread.any():
        row = int(unread.argmax())
        account.lose_times(
            f"{rows.place(row)}: the time is {_shown(column[row])}, and only numbers and dates of ISO 8601 are read"
        )
        return rows
    return replace(rows, times=times)


def _are_weights(kind: Any) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(is_kind(kind) for is_kind in _WEIGHTS)


def _shown(scalar: Any) -> str:
    value = scalar.as_py()
    if not isinstance(value, str):
        return "missing" if value is None else quote(str(value))
    cut = "…" if len(value) > _SHOWN_CHARACTERS else ""
    return quote(f"{value[:_SHOWN_CHARACTERS]!r}{cut}") if value else "missing"


def _repeated(column: Any, name: str | None) -> Bools:
    """Return bool [rows]: whether a row has the column's own name in it, in capitals or not."""
    same = pc.equal(pc.ascii_lower(column.dictionary), (name or "").strip().lower()).fill_null(False)
    repeated: Bools = np.zeros(len(column), np.bool_)
    if pc.any(same).as_py():
        repeated = pc.fill_null(same.take(column.indices), False).to_numpy(zero_copy_only=False)
    return repeated


def _weights(column: Any) -> Float64:
    found = as_floats(column)
    return np.array([_number(text) for text in column.to_pylist()], np.float64) if found is None else found


def _number(text: str | None) -> float:
    try:
        return float("nan") if text is None else float(text)
    except ValueError:
        return float("nan")
