"""Ids as arrays: binary search finds an id, so ten million ids need no dict and no load time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.model.factors import Id, Int32, Int64

IdKind: TypeAlias = Literal["int", "str"]

MAX_ID_BYTES = 256
_CANONICAL_INT = re.compile(r"0|-?[1-9][0-9]{0,18}")
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1
_MOST_DIGITS = 19


@dataclass(slots=True)
class Ids:
    """The ids of rows 0…len-1, and their reverse look-up; immutable.

    values: int64 or fixed-width bytes (UTF-8), [rows], in row order. sorter: int64 [rows], the rows in ascending id
    order; None if ``values`` itself ascends. as_text: whether numbers are returned as text, which JavaScript reads
    exactly. kind: whether the ids are numbers or text.
    """

    values: NDArray[Any]
    sorter: Int64 | None = None
    as_text: bool = False
    kind: IdKind = field(init=False)
    _first: int | None = field(init=False)
    _as_is: bool = field(init=False)

    def __post_init__(self) -> None:
        self.kind = "int" if self.values.dtype.kind == "i" else "str"
        self._first = self._first_of_consecutive()
        self._as_is = self.kind == "int" and not self.as_text

    def _first_of_consecutive(self) -> int | None:
        """Return the first id if all ascend by one, like row numbers, so that no search is needed."""
        if self.kind == "str" or self.sorter is not None or not len(self.values):
            return None
        first, last = map(int, self.values[[0, -1]])
        return first if last - first == len(self.values) - 1 else None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def are_row_numbers(self) -> bool:
        """Return whether the ids are all numbers from 0, as of a source that has none; they may be in another order."""
        if self.kind == "str" or not len(self.values):
            return False
        ends = np.array([0, -1]) if self.sorter is None else self.sorter[[0, -1]]
        return bool(np.array_equal(self.values[ends], [0, len(self.values) - 1]))

    def row(self, wanted: Id) -> int | None:
        """Return the row of an id, None if it is unknown.

        Every id in a path is text, so "42" finds the number 42 and 42 finds the text "42"; "042" finds no number.
        """
        key = _int64(wanted) if self.kind == "int" else self._text(wanted)
        if key is None:
            return None
        if self._first is not None and isinstance(key, int):
            row = key - self._first
            return row if 0 <= row < len(self.values) else None
        place = int(self.values.searchsorted(key, sorter=self.sorter))
        if place == len(self.values):
            return None
        row = place if self.sorter is None else int(self.sorter[place])
        return row if self.values.item(row) == key else None

    def rows(self, texts: NDArray[Any]) -> Int32:
        """Return the rows of ids that are given as fixed-width bytes (UTF-8), int32, -1 for those that are unknown.

        As in :meth:`row`, "042" does not find the number 42. Fast if the texts ascend, and without the interpreter
        lock.
        """
        if not len(self.values) or not len(texts):
            return np.full(len(texts), -1, np.int32)
        ordered = self.values if self.sorter is None else self.values.take(self.sorter)
        if self.kind == "int":
            keys, possible = _int64s(texts)
            places = ordered.searchsorted(keys).clip(max=len(ordered) - 1)
            found = (ordered.take(places) == keys) & possible
        else:
            # A cut key is found but then differs; NumPy would widen (copy) all ids for a longer one.
            keys = _cut(texts, ordered.dtype.itemsize)
            places = ordered.searchsorted(keys).clip(max=len(ordered) - 1)
            found = ordered.take(places) == texts
        rows = places if self.sorter is None else self.sorter.take(places)
        return np.where(found, rows, -1).astype(np.int32)

    def at(self, rows: NDArray[np.integer[Any]]) -> list[Id]:
        """Return the ids of these rows, numbers as int (or as text, see above) and text as str."""
        found: list[Any] = self.values[rows].tolist()
        return found if self._as_is else list(map(_text, found))

    def of(self, row: int) -> Id:
        """Return the id of one row."""
        value: int | bytes = self.values.item(row)
        return value if self._as_is and isinstance(value, int) else _text(value)

    def own_form(self, asked: Id) -> Id:
        """Return an id as it would be returned if it were one of these; what cannot be one is returned unchanged."""
        if not self._as_is:
            return str(asked)
        number = _int64(asked)
        return asked if number is None else number

    def starting_with(self, prefix: str, after: Id | None = None) -> Iterator[int]:
        """Yield the rows of the ids whose text has this prefix, in the order of the text.

        Numbers are ordered by their number of digits, so those closer to zero come first. Only ids that come after
        ``after`` are listed; it need not be one of them. Raises ValueError if it cannot be an id here.
        """
        if self.kind == "int":
            number = None if after is None else _number(after)
            everything = [self._between(_SMALLEST, _LARGEST, number)]
            return chain.from_iterable(self._numbers(prefix, number) if prefix else everything)
        text = None if after is None else str(after).encode(errors="surrogatepass")
        return chain.from_iterable(self._texts(prefix.encode(errors="surrogatepass"), text))

    def _between(self, low: int | bytes, high: int | bytes, after: int | bytes | None) -> Iterable[int]:
        """Return the rows of the ids from ``low`` to ``high`` that are greater than ``after``, ascending by id."""
        start = self.values.searchsorted(low, sorter=self.sorter)
        if after is not None:
            start = max(start, self.values.searchsorted(after, side="right", sorter=self.sorter))
        places = range(int(start), int(self.values.searchsorted(high, side="right", sorter=self.sorter)))
        return places if self.sorter is None else map(self.sorter.item, places)

    def _texts(self, prefix: bytes, after: bytes | None) -> Iterator[Iterable[int]]:
        width = self.values.dtype.itemsize
        if len(prefix) > width or b"\0" in prefix:  # as in _text
            return
        highest = prefix + b"\xff" if len(prefix) < width else prefix  # UTF-8 never contains that byte
        # A longer id would make NumPy widen the whole array; cut off, it is still greater than all before it.
        yield self._between(prefix, highest, None if after is None else after[:width])

    def _numbers(self, prefix: str, after: int | None) -> Iterator[Iterable[int]]:
        first = _int64(prefix)
        if first is None:
            return
        for digits in range(_MOST_DIGITS if first else 1):
            near, far = first * 10**digits, (abs(first) + 1) * 10**digits - 1
            low, high = (near, far) if first >= 0 else (-far, near)
            if low > _LARGEST or high < _SMALLEST:
                return
            low, high = max(low, _SMALLEST), min(high, _LARGEST)
            if after is None or low <= after <= high:
                yield self._between(low, high, after)
            elif (after < low) == (first >= 0):  # it has fewer digits
                yield self._between(low, high, None)

    def _text(self, wanted: Id) -> bytes | None:
        key = str(wanted).encode(errors="surrogatepass")
        # A longer key would make NumPy widen (copy) the whole array; and NumPy strips NULs.
        return key if 0 < len(key) <= self.values.dtype.itemsize and b"\0" not in key else None


def _text(value: int | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _number(text: Id) -> int:
    number = _int64(text)
    if number is None:
        raise ValueError(f"{text!r} is not an id of 64 bits")
    return number


def _int64(wanted: Id) -> int | None:
    if isinstance(wanted, str):
        if not _CANONICAL_INT.fullmatch(wanted):
            return None
        wanted = int(wanted)
    return wanted if _SMALLEST <= wanted <= _LARGEST else None


def _letters(texts: NDArray[Any]) -> NDArray[np.uint8]:
    """Return fixed-width bytes as uint8 [texts, width]."""
    return np.ascontiguousarray(texts).view(np.uint8).reshape(len(texts), texts.dtype.itemsize)


def _cut(texts: NDArray[Any], width: int) -> NDArray[Any]:
    """Return fixed-width bytes in another width; NumPy's own conversion would hold the interpreter lock."""
    if texts.dtype.itemsize == width:
        return texts
    cut, letters = np.zeros((len(texts), width), np.uint8), _letters(texts)[:, :width]
    cut[:, : letters.shape[1]] = letters
    return cut.view(f"S{width}")[:, 0]


def _int64s(texts: NDArray[Any]) -> tuple[Int64, NDArray[np.bool_]]:
    """Return the numbers that fixed-width bytes are, and which of them are numbers; see ``_CANONICAL_INT``.

    NumPy's own conversion would hold the interpreter lock throughout, half a second for a million.
    """
    letters = _letters(texts)
    negative = letters[:, 0] == ord("-")
    count = np.count_nonzero(letters, axis=1) - negative
    first = np.where(negative, letters[:, min(1, letters.shape[1] - 1)], letters[:, 0])
    good = (count > 0) & (count <= _MOST_DIGITS) & ((first != ord("0")) | ((count == 1) & ~negative))
    size = np.zeros(len(texts), np.uint64)
    for place, column in enumerate(letters.T[: _MOST_DIGITS + 1]):
        is_letter = (column != 0) & ~(negative if place == 0 else np.False_)
        digit = column - np.uint8(ord("0"))  # wraps around for what is before "0"
        good &= (digit < 10) | ~is_letter
        size = np.where(is_letter, size * np.uint64(10) + digit, size)
    good &= size <= np.uint64(_LARGEST) + negative
    numbers = size.view(np.int64)
    return np.where(negative, -numbers, numbers), good
