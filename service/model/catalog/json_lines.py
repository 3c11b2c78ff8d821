"""JSON Lines as a table: one object a line, whose keys are the columns."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from io import BufferedReader
from itertools import islice
from typing import Any

import msgspec
import pyarrow as pa

from service.errors import BadCatalogError
from service.model.catalog.naming import MAX_COLUMNS

#: So few that their objects stay in the processor's cache.
_BLOCK_LINES = 2**12
#: The most bytes of a line.
_LONGEST_LINE = 2**24
_TEXT = pa.large_string()
_LIST = pa.large_list
#: The type of a column with values that no attribute can have: objects, and lists of lists.
_NESTED = pa.struct([])

Row = dict[str, Any]
_row = msgspec.json.Decoder(Row)


class JsonLines:
    """A file of JSON Lines, read completely; a value that an object does not have is missing."""

    untyped = False

    def __init__(self, lines: BufferedReader) -> None:
        self._blank: list[int] = []  # the number of rows before each blank line
        self._blocks: list[tuple[int, dict[str, Any]]] = []
        self._read = 0
        self._known: set[str] = set()
        self.names: list[str] = []
        each = iter(partial(lines.readline, _LONGEST_LINE), b"")
        while block := list(islice(each, _BLOCK_LINES)):
            self._take(self._decoded(block))

    def read(self, places: Sequence[int]) -> list[Any]:
        """Return these columns."""
        return [self._column(self.names[place]) for place in places]

    def where(self, row: int) -> str:
        """Return the line of a row."""
        return f"line {row + 1 + bisect_right(self._blank, row)}"

    def _decoded(self, lines: list[bytes]) -> list[Row]:
        """Decode lines, at once if all are good. Raises BadCatalogError for the first that is not."""
        with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return list(map(_row.decode, lines))
        rows: list[Row] = []
        for line in lines:
            if line.isspace():
                self._blank.append(self._read + len(rows))
            else:
                rows.append(self._decoded_alone(line, self._read + len(rows)))
        return rows

    def _decoded_alone(self, line: bytes, row: int) -> Row:
        if len(line) == _LONGEST_LINE:
            raise BadCatalogError(f"{self.where(row)} has {_LONGEST_LINE // 2**20} MB or more")
        try:
            return _row.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise BadCatalogError(f"{self.where(row)} is not one JSON object ({why})") from None

    def _take(self, rows: Sequence[Row]) -> None:
        for place, row in enumerate(rows, self._read):
            if not row.keys() <= self._known:
                self._learn(row, place)
        self._read += len(rows)
        columns = zip(self.names, _columns(rows, self.names), strict=True)
        self._blocks.append((len(rows), {name: _array(values) for name, values in columns}))

    def _learn(self, row: Row, place: int) -> None:
        """Note the keys that are new in a row."""
        self.names += [name for name in row if name not in self._known]
        self._known.update(row)
        if len(self._known) > MAX_COLUMNS:
            raise BadCatalogError(f"{self.where(place)}: by here, there are more than {MAX_COLUMNS} different keys")

    def _column(self, name: str) -> Any:
        """Join the blocks of a column, in a type that has room for all."""
        parts = [block.pop(name, pa.nulls(count)) for count, block in self._blocks]
        common = _common([part.type for part in parts])
        return pa.chunked_array([_cast(part, common) for part in parts], common)


def _columns(rows: Sequence[Row], names: list[str]) -> Iterable[Sequence[Any]]:
    """Return the values of each key; that is faster if all rows have the same keys in the same order, as usual."""
    if rows and all(list(row) == names for row in rows):
        return zip(*(row.values() for row in rows), strict=True)
    return ([row.get(name) for row in rows] for name in names)


def _array(values: Sequence[Any]) -> Any:
    """Return values of JSON as an Arrow array of bools, numbers, texts or lists of these."""
    kinds = set(map(type, values)) - {type(None)}
    if not kinds:
        return pa.nulls(len(values))
    if dict in kinds:
        return pa.nulls(len(values), _NESTED)
    if list in kinds:
        return _lists(values)
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds <= {int, float}:
        return _numbers(values, kinds)
    return pa.array(values if kinds <= {str} else [_as_text(value) for value in values], _TEXT)


def _numbers(values: Sequence[Any], kinds: set[type]) -> Any:
    try:
        return pa.array(values, pa.int64() if kinds == {int} else pa.float64())
    except (OverflowError, pa.ArrowInvalid):  # a whole number of more than 64 bits, or than a float holds exactly
        return pa.array([_as_text(value) for value in values], _TEXT)


def _lists(values: Sequence[Any]) -> Any:
    """Return lists, and single values as lists of one."""
    lists = [value if isinstance(value, list) else [] if value is None else [value] for value in values]
    inside = [value for each in lists for value in each]
    if any(isinstance(value, list | dict) for value in inside):
        return pa.nulls(len(values), _NESTED)
    flat = _array(inside)
    ends = [0]
    for each in lists:
        ends.append(ends[-1] + len(each))
    return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), flat)


def _as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()


def _common(types: Sequence[Any]) -> Any:
    """Return a type to which arrays of all of these types can be cast."""
    if _NESTED in types:
        return _NESTED
    if any(map(pa.types.is_large_list, types)):
        return _LIST(_common([kind.value_type if pa.types.is_large_list(kind) else kind for kind in types]))
    found = set(types) - {pa.null()}
    if len(found) > 1:
        return pa.float64() if found == {pa.int64(), pa.float64()} else _TEXT
    return found.pop() if found else pa.null()


def _cast(part: Any, common: Any) -> Any:
    if part.type == common:
        return part
    if common == _NESTED:
        return pa.nulls(len(part), common)
    if pa.types.is_large_list(common) and not pa.types.is_large_list(part.type):
        part = pa.LargeListArray.from_arrays(pa.array(range(len(part) + 1), pa.int64()), part)
    return part.cast(common, safe=False)
