"""Columns of an Arrow table become columns of a catalog: their type is found in their content, or named by a user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.model.catalog.catalog import NO_DATE, Column, Kind, Words
from service.model.catalog.parsing import ABSENT, dates_of, parsed
from service.model.catalog.wording import MAX_TEXT_BYTES, as_words, cut, in_order, trimmed
from service.model.factors import Int32, Int64
from service.untrusted import quote

#: What separates the values of a list in a file of text.
_SEPARATOR = "|"
_KINDS: tuple[Kind, ...] = ("bool", "number", "date")
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
_NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
_SHOWN_CHARACTERS = 40
_FORMS = {
    "bool": "neither true nor false",
    "number": "not a number",
    "date": "not a date such as 2024-01-31 or 2024-01-31T12:00:00+01:00",
}


class MisfitError(Exception):
    """A value is not of the type that its column is to have; the message says what it is. row: where it is."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read a column.

    meaning: what a user calls it: a kind, "list" or "". untyped: whether its file has nothing but text, so that texts
    are read as what they look like; otherwise, only dates are.
    """

    meaning: str = ""
    untyped: bool = False

    @property
    def kind(self) -> Kind | None:
        """Return the named kind, None if it is to be found out."""
        return self.meaning if self.meaning in ABSENT else None

    @property
    def candidates(self) -> Sequence[Kind]:
        """Return the kinds that a text may have, besides text."""
        return _KINDS if self.untyped else ("date",)


def column_of(values: Any, reading: Reading) -> tuple[Column | None, list[str]]:
    """Turn an Arrow array into a column, None if it cannot be one; and say what was changed.

    Raises MisfitError if a value does not have the named type.
    """
    values = _plain(values)
    if reading.untyped and _has_lists(values, reading.meaning):
        values = pc.split_pattern(_text(values), _SEPARATOR)
    if any(is_list(values.type) for is_list in _LISTS):
        return _list(values, reading)
    scalars = _scalars(values, reading)
    if reading.meaning == "list" and scalars.column:
        return _wrapped(scalars.column), scalars.remarks
    return scalars.column, scalars.remarks


def titles_of(values: Any) -> Words | None:
    """Return a column of titles, None if all are missing or if it has none."""
    values = _plain(values)
    if not _is(values.type, (pa.types.is_dictionary, *_TEXTS, *_NUMBERS)):
        return None
    texts, _ = cut(trimmed(_text(values)))
    return in_order(texts) if texts.null_count < len(texts) else None


def available_of(values: Any) -> NDArray[np.bool_] | None:
    """Return which items are available, None if all are; an item is, if nothing is said. Raises MisfitError."""
    column, _ = column_of(values, Reading("bool"))
    if column is None or column.is_list:
        raise MisfitError(f"has values of type {values.type}", 0)
    available: NDArray[np.bool_] = column.values != 0
    return None if available.all() else available


@dataclass(frozen=True, slots=True)
class _Scalars:
    column: Column | None
    remarks: list[str]


def _plain(values: Any) -> Any:
    """Return a column as one array, and a dictionary only of texts."""
    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    values = values.storage if isinstance(values, pa.ExtensionArray) else values
    encoded = pa.types.is_dictionary(values.type)
    return values.dictionary_decode() if encoded and not _is(values.type.value_type, _TEXTS) else values


def _is(kind: Any, kinds: Sequence[Any]) -> bool:
    return any(is_kind(kind) for is_kind in kinds)


def _text(values: Any) -> Any:
    values = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
    return values.cast(pa.large_string())


def _has_lists(texts: Any, meaning: str) -> bool:
    if meaning:
        return meaning == "list"
    return bool(pc.any(pc.match_substring(texts, _SEPARATOR), min_count=0).as_py())


def _list(values: Any, reading: Reading) -> tuple[Column | None, list[str]]:
    lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
    starts = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    if reading.kind:
        raise MisfitError(f"has lists, not {reading.kind}s", int(lengths.argmax()))
    found = _scalars(_plain(values.flatten()), reading)
    return (_dense(found.column, starts) if found.column else None), found.remarks


def _wrapped(column: Column) -> Column:
    """Return a column of lists of at most one value."""
    return _dense(column, np.arange(len(column.values) + 1, dtype=np.int64))


def _dense(column: Column, starts: Int64) -> Column:
    """Return lists without the values that are missing."""
    present = ~_missing(column)
    before = np.concatenate(([0], np.cumsum(present, dtype=np.int64)))
    return replace(column, values=column.values[present], starts=before[starts])


def _missing(column: Column) -> NDArray[np.bool_]:
    missing: NDArray[np.bool_] = (
        np.isnan(column.values) if column.kind == "number" else column.values == ABSENT[column.kind]
    )
    return missing


def _scalars(values: Any, reading: Reading) -> _Scalars:
    """Turn an array of single values into a column."""
    kind = values.type
    named = reading.kind
    if pa.types.is_boolean(kind) and named in {None, "bool"}:
        return _Scalars(Column("bool", pc.fill_null(values.cast(pa.int8()), -1).to_numpy(zero_copy_only=False)), [])
    if _is(kind, _NUMBERS) and named in {None, "number"}:
        return _numbers(values)
    if (pa.types.is_timestamp(kind) or pa.types.is_date(kind)) and named in {None, "date"}:
        return _Scalars(Column("date", _moments(values)), [])
    if pa.types.is_dictionary(kind) or _is(kind, _TEXTS):
        return _texts(values, reading)
    if named and _is(kind, (pa.types.is_boolean, *_NUMBERS, pa.types.is_temporal)):
        return _texts(values.cast(pa.large_string()), reading)
    return _Scalars(None, [f"is left out: its values are of type {quote(str(kind))}"])


def _numbers(values: Any) -> _Scalars:
    numbers = pc.fill_null(values.cast(pa.float64(), safe=False), np.nan).to_numpy(zero_copy_only=False)
    infinite = np.isinf(numbers)
    count = int(np.count_nonzero(infinite))
    remarks = [f"has {count} infinite numbers, which count as missing"] if count else []
    return _Scalars(Column("number", np.where(infinite, np.nan, numbers) if count else numbers), remarks)


def _moments(values: Any) -> NDArray[Any]:
    """Return Arrow's dates as a column has them. Raises MisfitError if one is out of range."""
    try:
        # Fractions of a microsecond are cut off; what is out of range must not be.
        in_nanoseconds = pa.types.is_timestamp(values.type) and values.type.unit == "ns"
        found = dates_of(values.cast(pa.timestamp("us"), safe=not in_nanoseconds))
    except pa.ArrowInvalid:
        found = None
    if found is None:
        raise MisfitError("has a date before the year 1 or after 9999", 0)
    return found


def _texts(values: Any, reading: Reading) -> _Scalars:
    """Turn texts into a column, looking at each distinct text once."""
    encoded = values if pa.types.is_dictionary(values.type) else values.cast(pa.large_string()).dictionary_encode()
    texts = trimmed(encoded.dictionary.cast(pa.large_string()))
    codes: Int32 = pc.fill_null(encoded.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
    if found := _parsed(texts, codes, reading):
        return _Scalars(found, [])
    texts, count = cut(texts)
    remarks = [f"has {count} texts of more than {MAX_TEXT_BYTES} bytes, which are cut"] if count else []
    return _Scalars(Column("text", *_worded(texts, codes)), remarks)


def _worded(texts: Any, codes: Int32) -> tuple[Int32, None, Words]:
    numbers, words = as_words(texts, codes)
    return numbers, None, words


def _parsed(texts: Any, codes: Int32, reading: Reading) -> Column | None:
    """Return texts as bools, numbers or dates if they are such. Raises MisfitError if only some are what was named."""
    named = reading.kind
    if named == "text":
        return None
    for kind in (named,) if named else reading.candidates:
        found = parsed(texts, kind, named=named is not None)
        if found is not None:
            return Column(kind, np.append(found, ABSENT[kind]).take(codes))
    if named is None:
        return None
    first = _first_misfit(texts, named)
    shown = texts[first].as_py()
    shown = repr(shown[:_SHOWN_CHARACTERS]) + "…" * (len(shown) > _SHOWN_CHARACTERS)
    raise MisfitError(f"is {quote(shown)}, which is {_FORMS[named]}", int((codes == first).argmax()))


def _first_misfit(texts: Any, kind: Kind) -> int:
    """Return the place of the first text that cannot be parsed, by halves."""
    low, high = 0, len(texts)
    while high - low > 1:
        middle = (low + high) // 2
        if parsed(texts[low:middle], kind, named=True) is None:
            high = middle
        else:
            low = middle
    return low


assert ABSENT["date"] == NO_DATE
