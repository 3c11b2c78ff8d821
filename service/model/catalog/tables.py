"""Files of items as tables: text, JSON Lines and Parquet, told apart by their content."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from typing import Any, Protocol, TextIO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from service.errors import BadCatalogError
from service.model.catalog.json_lines import JsonLines
from service.model.tables.foreign_tables import foreign, unmarked
from service.model.tables.streams import Readable, Sealed, decompressed, marked_encoding, text_of, utf8_chunks

_PARQUET_MAGIC = b"PAR1"
_HEAD = 512
_DELIMITERS = ",;\t"
#: The most bytes of a row of text, and of a header.
_BLOCK_BYTES = 2**24
_LONGEST_HEADER = 2**18


class Table(Protocol):
    """A file of items. untyped: it has nothing but text, so that types have to be found out."""

    untyped: bool

    @property
    def names(self) -> Sequence[str]:
        """The names of its columns."""

    def read(self, places: Sequence[int]) -> list[Any]:
        """Return these columns as Arrow arrays, in chunks. Raises BadCatalogError, and the errors of reading."""

    def where(self, row: int) -> str:
        """Return where a row is, counted from 0."""


def open_table(file: BufferedReader) -> Table:
    """Read the beginning of a file, enough to know its columns. Raises BadCatalogError, and the errors of reading."""
    if file.peek(len(_PARQUET_MAGIC)).startswith(_PARQUET_MAGIC):
        return ParquetTable(file)
    start = bytes(decompressed(_reopened(file)).read(_HEAD)).removeprefix(codecs.BOM_UTF8)
    if start.lstrip().startswith(b"{"):
        return JsonLines(BufferedReader(Readable(decompressed(_reopened(file)))))
    if other := foreign(start):
        raise BadCatalogError(f"it {other}")
    if unmarked(start):
        raise BadCatalogError("it is UTF-16 without a byte order mark: save it as UTF-8")
    return TextTable(file, marked_encoding(start) or "utf-8")


class ParquetTable:
    """A Parquet file."""

    untyped = False

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        with pa.parquet.ParquetFile(file) as opened:
            schema = opened.schema_arrow
        self.names = schema.names
        # Texts are kept as dictionaries: a column of few distinct ones would otherwise take many times its size.
        self._texts = [field.name for field in schema if pa.types.is_string(field.type)]

    def read(self, places: Sequence[int]) -> list[Any]:
        """Return these columns."""
        names = [self.names[place] for place in places]
        texts = [name for name in names if name in self._texts]
        with pa.parquet.ParquetFile(self._file, read_dictionary=texts) as opened:
            table = opened.read(columns=names, use_threads=False)
        table.validate(full=True)  # invalid UTF-8, which Arrow would otherwise accept
        return [table.column(name) for name in names]

    def where(self, row: int) -> str:
        """Return the number of the row."""
        return f"row {row + 1}"


@dataclass(frozen=True, slots=True)
class _Form:
    delimiter: str
    quoted: bool
    names: list[str]


class TextTable:
    """A file of CSV, in UTF-8 or UTF-16; semicolons or tabs may separate fields, too.

    With tabs, a quote is a letter unless the header is in quotes.
    """

    untyped = True

    def __init__(self, file: BufferedReader, encoding: str) -> None:
        self._file, self._encoding = file, encoding
        self._form = _form_of(self._text().read(_LONGEST_HEADER))
        self.names = self._form.names
        self._misfit: tuple[int, int] | None = None
        self._endless = False

    def read(self, places: Sequence[int]) -> list[Any]:
        """Return these columns as texts."""
        names = [str(place) for place in range(len(self.names))]
        wanted = [names[place] for place in places]
        try:
            with self._reader(names, wanted) as reader:
                table = reader.read_all()
        except pa.ArrowInvalid as error:
            if "straddl" not in str(error):
                raise
            longest = f"{_BLOCK_BYTES // 2**20} MB"
            raise BadCatalogError(f"a row has {longest} or more, perhaps because a quote is never closed") from None
        self._prove_formed()
        return [table.column(name) for name in wanted]

    def where(self, row: int) -> str:
        """Return the line where a row begins, or is part of, if rows span lines."""
        quoting = csv.QUOTE_MINIMAL if self._form.quoted else csv.QUOTE_NONE
        rows = csv.reader(self._text(), delimiter=self._form.delimiter, quoting=quoting)  # type: ignore[arg-type] # one of its own constants
        return f"line {_line_of(rows, row + 1)}"

    def _text(self) -> TextIO:
        return text_of(_reopened(self._file), self._encoding, 0)

    def _reader(self, names: Sequence[str], wanted: Sequence[str]) -> Any:
        form, seal = self._form, '"\0 the end \0' + self._form.delimiter * len(names)
        chunks = utf8_chunks(decompressed(_reopened(self._file)), self._encoding, _BLOCK_BYTES - len(seal) - 1)
        return pa.csv.open_csv(
            Sealed(chunks, seal),
            # On one thread, because otherwise Arrow does not report the position of a malformed row.
            pa.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES, column_names=names, skip_rows_after_names=1),
            pa.csv.ParseOptions(
                delimiter=form.delimiter,
                quote_char='"' if form.quoted else False,
                newlines_in_values=form.quoted,
                invalid_row_handler=lambda row: self._refuse(row, seal),
            ),
            pa.csv.ConvertOptions(include_columns=wanted, column_types=dict.fromkeys(wanted, pa.large_string())),
        )

    def _refuse(self, row: Any, seal: str) -> str:
        """Note the first malformed row; the seal is one, unless an open quote has swallowed it."""
        if row.text.endswith(seal):
            self._endless = row.text != seal
        elif self._misfit is None:
            self._misfit = row.number, row.actual_columns
        return "skip"

    def _prove_formed(self) -> None:
        if self._misfit:
            number, fields = self._misfit
            raise BadCatalogError(
                f"{self.where(number - 2)}: there are {fields} fields, but the header has {len(self.names)}; quote "
                "texts that contain the delimiter"
            )
        if self._endless:
            raise BadCatalogError("a quote is never closed")


def _reopened(file: BufferedReader) -> BufferedReader:
    """Return a reader at the beginning of an open file, which stays open when decompressing ends."""
    file.seek(0)
    return BufferedReader(Readable(file))


def _form_of(head: str) -> _Form:
    """Return the delimiter that gives the header the most names, and whether quotes quote."""
    line = head.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=lambda one: len(_first_row([line], one)))
    quoted = delimiter != "\t" or '"' in line
    names = _first_row(io.StringIO(head, newline=""), delimiter) if quoted else line.rstrip("\r").split(delimiter)
    if len(head) == _LONGEST_HEADER and "\n" not in head:
        raise BadCatalogError(f"its first line has more than {_LONGEST_HEADER} characters; a header has fewer")
    return _Form(delimiter, quoted, names)


def _first_row(lines: Iterable[str], delimiter: str) -> list[str]:
    with suppress(csv.Error):  # a name that is longer than a field can be
        return next(csv.reader(lines, delimiter=delimiter), [])
    return []


def _line_of(rows: Any, number: int) -> int:
    """Return the line on which a row ends, counted from 0 at the header; empty lines are not rows."""
    for row in rows:
        if row:
            if not number:
                break
            number -= 1
    return int(rows.line_num)
