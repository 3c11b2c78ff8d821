"""Texts as bools, numbers and dates: each function takes distinct texts and parses all of them, or none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.model.catalog.catalog import NO_DATE, Kind
from service.model.tables.ids import MISSING

#: What a column of bools may have if nobody says that it is one; 0 and 1 are numbers, "Y" could be a letter.
_TRUE, _FALSE = ("true", "yes"), ("false", "no")
_MORE_TRUE, _MORE_FALSE = (*_TRUE, "1", "1.0", "t", "y", "on"), (*_FALSE, "0", "0.0", "f", "n", "off")
_FRACTION = r"(?:\.[0-9]*)?(?:[eE][-+]?[0-9]{1,3})?$"
#: A code with leading zeros, or one of so many digits that a float64 would change it, is text unless named a number.
_NUMBER = r"^-?(?:(?:0|[1-9][0-9]{0,14})" + _FRACTION[:-1] + r"|\.[0-9]+)$"
_ANY_NUMBER = r"^[-]?(?:[0-9]+" + _FRACTION[:-1] + r"|\.[0-9]+)$"
_DAY, _TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}", r"[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?"
_ZONE = r"(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)$"
_MOMENT = pa.timestamp("us", "UTC")
#: Dates from the year 1 to the end of 9999, in microseconds since 1970, as Python and SQL have them.
FIRST_DATE, LAST_DATE = np.array(["0001-01-01", "9999-12-31T23:59:59.999999"], "M8[us]").astype(np.int64).tolist()

#: What stands for a missing value in an array of each kind.
ABSENT: dict[Kind, Any] = {"bool": np.int8(-1), "number": np.nan, "date": np.int64(NO_DATE), "text": np.int32(-1)}


def parsed(texts: Any, kind: Kind, *, named: bool) -> NDArray[Any] | None:
    """Return distinct texts as values of a kind other than text, None if one is not of that kind, or if there are none.

    texts: an Arrow array of large strings, without blanks around them. named: whether a user says that they are, so
    that more forms count.
    """
    present = pc.if_else(pc.is_in(texts, value_set=pa.array(MISSING, pa.large_string())), None, texts)
    if present.null_count == len(present) and not named:
        return None
    if kind == "bool":
        return _bools(present, named=named)
    return _numbers(present, named=named) if kind == "number" else _dates(present)


def _bools(texts: Any, *, named: bool) -> NDArray[Any] | None:
    true, false = (_MORE_TRUE, _MORE_FALSE) if named else (_TRUE, _FALSE)
    places = pc.index_in(pc.utf8_lower(texts), value_set=pa.array(true + false, pa.large_string()))
    if places.null_count > texts.null_count:
        return None
    found = pc.fill_null(places, -1).to_numpy()
    return np.where(found < 0, -1, found < len(true)).astype(np.int8)


def _numbers(texts: Any, *, named: bool) -> NDArray[Any] | None:
    if not _all_match(texts, _ANY_NUMBER if named else _NUMBER):
        return None
    numbers: NDArray[Any] = pc.fill_null(texts.cast(pa.float64()), np.nan).to_numpy(zero_copy_only=False)
    return None if np.isinf(numbers).any() else numbers


def _dates(texts: Any) -> NDArray[Any] | None:
    if not _all_match(texts, f"{_DAY}(?:{_TIME} ?(?:{_ZONE[:-1]}|UTC)?)?$"):
        return None
    texts = pc.replace_substring_regex(texts, r"(\.[0-9]{6})[0-9]+", r"\1")
    texts = pc.replace_substring_regex(texts, " ?UTC$", "Z")
    texts = pc.replace_substring_regex(texts, f"({_TIME}) ", r"\1")  # before a zone
    with_time = pc.match_substring(texts, ":")
    with_zone = pc.match_substring_regex(texts, f"{_TIME}{_ZONE}")
    ends = pc.if_else(with_zone, "", pc.if_else(with_time, "Z", "T00:00Z")).cast(pa.large_string())
    try:
        moments = pc.binary_join_element_wise(texts, ends, pa.scalar("", pa.large_string())).cast(_MOMENT)
    except pa.ArrowInvalid:  # February 30
        return None
    return dates_of(moments)


def dates_of(moments: Any) -> NDArray[Any] | None:
    """Return an Arrow array of timestamps in microseconds as a column has dates, None if one is out of range."""
    found: NDArray[Any] = pc.fill_null(moments.cast(pa.int64()), NO_DATE).to_numpy(zero_copy_only=False)
    out = (found < FIRST_DATE) | (found > LAST_DATE)
    return None if np.count_nonzero(out) > moments.null_count else found


def _all_match(texts: Any, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(texts, pattern), min_count=0).as_py())
