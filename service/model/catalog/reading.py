"""Reading a catalog from a file of items."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.errors import BadCatalogError
from service.model.catalog.catalog import Account, Catalog, Column
from service.model.catalog.columns import MisfitError, Reading, available_of, column_of, titles_of
from service.model.catalog.naming import find_places
from service.model.catalog.tables import Table, open_table
from service.model.factors import Int64
from service.model.tables import ids
from service.untrusted import quote

_NO_ID, _BAD_ID = "no id", "an id that is too long"


def read_catalog(path: Path, file: BufferedReader, given: Mapping[str, str]) -> Catalog:
    """Read CSV, JSON Lines or Parquet. Raises BadCatalogError, which names the file as ``path``.

    given: what the user says of columns, see :func:`service.model.catalog.naming.columns_of`. The last row of a
    repeated id counts.
    """
    with _naming(path):
        return _read(open_table(file), given)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn whatever reading raises into one sentence with the file."""
    try:
        yield
    except BadCatalogError as error:
        raise BadCatalogError(f"{path}: {error.marked}.") from None
    except UnicodeDecodeError as error:
        byte = error.object[error.start : error.start + 1].hex()
        raise BadCatalogError(f"{path}: the byte 0x{byte} is not {error.encoding.upper()}; save it as UTF-8.") from None
    except MemoryError:  # Arrow's own is an ArrowException as well
        raise
    except (OSError, EOFError, zlib.error, csv.Error, pa.ArrowException) as error:
        why = str(error).partition("\n")[0].rstrip(".")
        raise BadCatalogError(f"{path} cannot be read as CSV, JSON Lines or Parquet: {quote(why)}.") from None


def _read(table: Table, given: Mapping[str, str]) -> Catalog:
    places = find_places(table.names, given)
    optional = [place for place in (places.title, places.available) if place is not None]
    wanted = [places.id, *optional, *places.attributes.values()]
    arrays = dict(zip(wanted, table.read(wanted), strict=True))
    texts = _ids_of(arrays[places.id], table.names[places.id])
    chosen, kept, left_out, repeated = _choose(texts)
    rows = _Rows(table, arrays, kept)
    title = None if places.title is None else titles_of(rows.of(places.title))
    with rows.blaming(places.available):
        available = None if places.available is None else available_of(rows.of(places.available))
    columns: dict[str, Column] = {}
    remarks = list(places.remarks)
    for name, place in places.attributes.items():
        with rows.blaming(place):
            column, more = column_of(rows.of(place), Reading(places.meanings.get(name, ""), table.untyped))
        remarks += [f"the column {quote(table.names[place])} {remark}" for remark in more]
        columns |= {name: column} if column else {}
    return Catalog(chosen, title, available, columns, Account(left_out, repeated, tuple(remarks)))


class _Rows:
    """The rows of a table that count, in the order of their ids; each column is taken once."""

    def __init__(self, table: Table, arrays: dict[int, Any], kept: Int64) -> None:
        self._table, self._arrays, self._kept = table, arrays, kept

    def of(self, place: int) -> Any:
        """Return a column's values, and forget it."""
        return self._arrays.pop(place).take(pa.array(self._kept))

    @contextmanager
    def blaming(self, place: int | None) -> Iterator[None]:
        """Say which row and column a misfit is in. Raises BadCatalogError."""
        try:
            yield
        except MisfitError as error:
            assert place is not None
            where = self._table.where(int(self._kept[error.row]))
            raise BadCatalogError(f"{where}: the column {quote(self._table.names[place])} {error}") from None


def _ids_of(values: Any, name: str) -> Any:
    """Return ids as an Arrow dictionary array of texts. Raises BadCatalogError."""
    values = values.combine_chunks()
    if not ids.are_ids(values.type):
        raise BadCatalogError(f"the column {quote(name)} is of type {quote(str(values.type))}; ids are numbers or text")
    try:
        return ids.clean(values, quote(name))
    except ids.NotTextError as error:
        raise BadCatalogError(str(error)) from None


def _choose(texts: Any) -> tuple[NDArray[Any], Int64, dict[str, int], int]:
    """Return the ids, ascending, and the row of each that counts.

    Then how many rows do not, by the reason why, and how many because their id comes again. Raises BadCatalogError if
    there are no ids.
    """
    bad = ids.invalid(texts)
    codes = pc.fill_null(texts.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
    good = np.flatnonzero((codes >= 0) & ~bad)
    if not len(good):
        raise BadCatalogError("it has no row with an id")
    last = np.full(len(texts.dictionary), -1, np.int64)
    np.maximum.at(last, codes[good], good)
    order = pc.sort_indices(texts.dictionary.cast(pa.large_binary())).to_numpy()
    order = order[last[order] >= 0]
    chosen = texts.dictionary.take(pa.array(order))
    width = pc.max(pc.binary_length(chosen)).as_py()
    left_out = {_NO_ID: texts.null_count, _BAD_ID: int(np.count_nonzero(bad))}
    found = np.array(chosen.cast(pa.binary()).to_pylist(), f"S{width}")
    return found, last[order], {reason: count for reason, count in left_out.items() if count}, len(good) - len(order)
