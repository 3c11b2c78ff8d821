"""Times of rows: numbers, timestamps and the common forms of text, as float64 seconds or the data's own unit."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_MICROSECONDS = 1e6  # in a second
#: Arrow's timestamp formats: without a zone, which means UTC, and with a zone.
_MOMENTS = (pa.timestamp("us"), pa.timestamp("us", "UTC"))
_FORMS = (pa.float64(), *_MOMENTS)
_KINDS = (pa.types.is_timestamp, pa.types.is_date, pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal,
          pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)  # fmt: skip
#: Of logs, mails and people; where the day and the month could be exchanged, other rows must tell.
_OTHER_FORMS = (
    *("%d/%b/%Y:%H:%M:%S %z", "%a, %d %b %Y %H:%M:%SZ", "%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %z %Y"),
    "%Y-%m-%d %I:%M:%S %p",
    *(
        day + time
        for day in ("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%d-%b-%Y", "%d %b %Y", "%b %d, %Y")
        for time in ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
    ),
)
#: "2019-10-01 00:00:00 UTC" of BigQuery, and "2019/10/01".
_ZONE, _SLASHES = r"\s*(?:UTC|GMT|Z)$", r"^(\d{4})/(\d\d)/(\d\d)"


def are_times(kind: Any) -> bool:
    """Return whether a column of this Arrow type can have times."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(is_kind(kind) for is_kind in _KINDS)


def seconds(column: Any) -> NDArray[np.float64]:
    """Return a column as float64, NaN for what is not read."""
    found = as_floats(column, _FORMS)
    if found is None:
        column = _usual(column.cast(pa.string()))
        found = as_floats(column, _FORMS)
    if found is None:
        found = _by_format(column)
    return np.array([_second(text) for text in column.to_pylist()], np.float64) if found is None else found


def as_floats(column: Any, forms: Sequence[Any] = (pa.float64(),)) -> NDArray[np.float64] | None:
    """Return a column as float64, NaN for missing values; None if its values do not all have one of these forms."""
    for form in forms:
        with suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):  # then it has another form
            # One value is tried first, because Arrow slowly reads to the end even if it fails at the first.
            _cast(column[:1], form)
            return _cast(column, form)
    return None


def _cast(column: Any, form: Any) -> NDArray[np.float64]:
    numbers = column.cast(form, safe=False)
    if form in _MOMENTS:
        numbers = pc.divide(numbers.cast(pa.int64()).cast(pa.float64(), safe=False), _MICROSECONDS)
    as_float: NDArray[np.float64] = pc.fill_null(numbers, float("nan")).to_numpy(zero_copy_only=False)
    return as_float


def _by_format(texts: Any) -> NDArray[np.float64] | None:
    """Return times in one of the other common forms, None if not all have the same, or if they could have two."""
    found = [times for form in _OTHER_FORMS if (times := _parsed(texts, form)) is not None]
    same = found and all(np.array_equal(times, found[0], equal_nan=True) for times in found)
    return found[0] if same else None


def _parsed(texts: Any, form: str) -> NDArray[np.float64] | None:
    if pc.strptime(texts[:1], form, "s", error_is_null=True).null_count:
        return None
    times = pc.strptime(texts, form, "s", error_is_null=True)
    return _cast(times.cast(_MOMENTS[0]), _MOMENTS[0]) if times.null_count == texts.null_count else None


def _usual(texts: Any) -> Any:
    """Return text as ISO 8601 has it, where that is all that is wrong with it."""
    trimmed = pc.utf8_trim_whitespace(texts)
    return pc.replace_substring_regex(pc.replace_substring_regex(trimmed, _ZONE, "Z"), _SLASHES, r"\1-\2-\3")


def _second(text: str | None) -> float:
    """Parse one time: a number, or a date with or without a time of day (UTC if it names no zone)."""
    if text is None:
        return float("nan")
    with suppress(ValueError):
        return float(text)
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return float("nan")
