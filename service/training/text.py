"""Interactions as text: CSV, TSV and the like, compressed or not, read block by block with Arrow.

Arrow is fast but ignores invalid UTF-8 in unread columns and unclosed quotes, so both are checked here.
"""

from __future__ import annotations

import csv
import itertools
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv

from service.errors import TrainingError
from service.model.factors import Int64
from service.model.tables.streams import Sealed, decompressed, opened_text, utf8_chunks
from service.training.account import Account, Faults
from service.training.baskets import read_baskets
from service.training.columns import naming
from service.training.data_files import DataFile
from service.training.forms import TextForm, form_of
from service.training.layout import Layout
from service.training.quotes import Looks, Swallowing, swallowing_rows, swallowing_rows_slowly
from service.training.rows import Place, Rows, check_batch

_BLOCK_BYTES = 2**24

_TOO_LONG = sys.maxsize  # stands for the number of the first row that is longer than a block
_SWALLOWED = "within a quoted field"
_MISFIT = "another number of fields than the header"


def read_text(file: DataFile, raw: BufferedReader, layout: Layout, account: Account) -> Iterator[tuple[Rows, int]]:
    """Yield the good rows of a text file block by block, with the number of bytes read so far.

    Raises TrainingError, and the errors of reading, decompressing and decoding.
    """
    form = form_of(file, layout, account)
    if form is None:
        if not file.found:
            raise TrainingError(f"{file.path} is empty.")
        account.passed_over.append(file.path)
    elif form.baskets:
        yield from read_baskets(file, raw, form, account, _BLOCK_BYTES)
    else:
        yield from _read_table(_TextTable(file, form, layout, account), raw, account)


def _read_table(table: _TextTable, raw: BufferedReader, account: Account) -> Iterator[tuple[Rows, int]]:
    for batch in table.batches(raw):
        numbers = table.numbers(batch.num_rows)
        rows = check_batch(batch, table.columns, account, table.places(numbers))
        account.meet(table.faults(numbers, rows))
        yield rows.good(), raw.tell()
    account.meet(table.faults(None, None))
    table.prove_ended()
    account.meet(table.swallowed())


class _TextTable:
    """One CSV file: its form, and the numbers of its rows, starting with 1 after the header.

    Arrow skips rows whose number of fields differs from the header's, and reports them a block in advance.
    """

    def __init__(self, file: DataFile, form: TextForm, layout: Layout, account: Account) -> None:
        self._file = file
        self._form = form
        with naming(file.path):
            self.columns = layout.names.found_in(form.header, account.lose_times)
        account.take(self.columns.roles())
        self._expected = len(form.header)
        # Arrow ignores an unclosed quote: the field continues to the end. So this seal is appended. By itself it is a
        # row of one field; after an open quote, it closes the quote and adds fields beyond the header's.
        self._seal = '"\0 the end \0' + form.character * self._expected
        self._endless: int | None = None
        self._next = 1
        self._lines = 0
        # Numbers of malformed rows, ascending, and their numbers of fields, as bytes rather than objects, because every
        # row may be malformed. Arrow may add to them from its own thread.
        self._misshapen, self._fields = array("q"), array("q")
        self._passed = 0

    def batches(self, raw: BufferedReader) -> Iterator[Any]:
        """Yield the columns of the file as text, block by block."""
        wanted, form = self.columns.given(), self._form
        source = decompressed(raw)  # kept, because Arrow's closes the file with itself
        chunks = utf8_chunks(
            source,
            form.encoding,
            # What a replacement may hold back, and the seal, are still to fit into a block.
            _BLOCK_BYTES - len(self._seal) - len(form.delimiter),
            skipped=form.skipped,
            renamed=form.renamed,
            squeezed=form.delimiter == " ",
        )
        try:
            with pa.csv.open_csv(
                Sealed(self._counted(chunks) if form.quoted else chunks, self._seal),
                # On one thread, because otherwise Arrow does not report the position of a malformed row.
                pa.csv.ReadOptions(
                    use_threads=False, block_size=_BLOCK_BYTES, column_names=None if form.titled else form.header
                ),
                pa.csv.ParseOptions(
                    delimiter=form.character,
                    quote_char='"' if form.quoted else False,
                    newlines_in_values=form.quoted,
                    invalid_row_handler=self._leave_out,
                ),
                pa.csv.ConvertOptions(include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string())),
            ) as reader:
                yield from reader
        except pa.ArrowInvalid as error:
            if "straddl" not in str(error):
                raise
            self._endless = _TOO_LONG

    def _counted(self, chunks: Iterator[bytes]) -> Iterator[bytes]:  # pragma: no cover - in Arrow's thread
        """Count the lines of a text on its way."""
        chunk = b""
        for chunk in chunks:
            self._lines += chunk.count(b"\n")
            yield chunk
        self._lines += not chunk.endswith(b"\n")

    def swallowed(self) -> Faults:
        """Return how many rows are within a quoted field; they are looked for if there are more lines than rows."""
        rows = max([self._next - 1, *self._misshapen[-1:]])
        rows += self._form.titled
        found = self._swallowing(rows) if self._lines > rows and self._endless is None else []

        def describe() -> str:
            line, lines = found[0]
            return (
                f"{self._file.path}, line {line}: the row that begins here ends {lines - 1} lines on, and all of these "
                "look like rows; is a closing quote missing?"
            )

        return {_SWALLOWED: sum(lines - 1 for _, lines in found)}, describe

    def _swallowing(self, rows: int) -> list[Swallowing]:
        form, line = self._form, 1 + self._form.skipped
        looks = Looks(form.character, self._expected, [form.header.index(name) for name in self.columns.given()[:2]])
        with _longest_field(_BLOCK_BYTES):
            with self._file.open() as raw:
                chunks = utf8_chunks(decompressed(raw), form.encoding, _BLOCK_BYTES, skipped=form.skipped)
                found = swallowing_rows(chunks, looks, rows, line, _BLOCK_BYTES)
            if found is None:
                with opened_text(self._file, form.encoding, form.skipped) as text:
                    found = list(swallowing_rows_slowly(text, looks, line))
        return found

    def _leave_out(self, row: Any) -> str:
        number = row.number - self._form.titled  # Arrow counts the header
        if not row.text.endswith(self._seal):
            self._fields.append(row.actual_columns)
            self._misshapen.append(number)
        elif row.text != self._seal:
            self._endless = number
        return "skip"

    def prove_ended(self) -> None:
        """Raise TrainingError if a row continues to the end or is longer than a block."""
        if self._endless is not None:
            where = self.place(self._endless)
            raise TrainingError(f"{where}: the row that begins here never ends; is a closing quote missing?")

    def faults(self, numbers: Int64 | None, rows: Rows | None) -> Faults:
        """Return how many of these rows, including skipped ones, are bad; without rows, of the rest."""
        misshapen = self._passed_by(sys.maxsize if numbers is None else self._next)
        bad = np.zeros(0, np.int64) if rows is None else np.flatnonzero(rows.bad)

        def describe() -> str:
            first = [(self._misshapen[index], self._misfit(index)) for index in misshapen[:1]]
            if rows is not None and numbers is not None:
                first += [(int(numbers[row]), rows.fault(row)) for row in bad[:1].tolist()]
            number, fault = min(first)
            return f"{self.place(number)}: {fault}"

        return {**(rows.reasons() if len(bad) and rows else {}), _MISFIT: len(misshapen)}, describe

    def numbers(self, count: int) -> Int64:
        """Return the numbers of the next rows that were not skipped."""
        ahead = self._misshapen[self._passed :]
        numbers = np.arange(self._next, self._next + count + len(ahead))
        numbers = numbers[~np.isin(numbers, ahead)][:count]
        if count:
            self._next = int(numbers[-1]) + 1
        return numbers

    def _passed_by(self, number: int) -> range:
        start = self._passed
        self._passed = bisect_left(self._misshapen, number, lo=start)
        return range(start, self._passed)

    def _misfit(self, index: int) -> str:
        return f"there are {self._fields[index]} fields, but the header has {self._expected}"

    def places(self, numbers: Int64) -> Place:
        """Return where each of the rows with these numbers is."""
        return lambda row: self.place(int(numbers[row]))

    def place(self, number: int) -> str:
        """Return the file and the line of a row."""
        return f"{self._file.path}, line {self._line(number)}"

    def _line(self, number: int) -> int:
        """Find the line where a row begins, on demand, because rows may span lines and lines may be empty."""
        line = 1 + self._form.skipped
        # Arrow counts bytes, but csv counts characters, of up to four bytes.
        longest = _BLOCK_BYTES // 8 if number == _TOO_LONG else _BLOCK_BYTES
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if self._form.quoted else csv.QUOTE_NONE
        with (
            opened_text(self._file, self._form.encoding, self._form.skipped) as text,
            _longest_field(longest),
            suppress(csv.Error),  # as far as it can be read
        ):
            rows = csv.reader(text, delimiter=self._form.character, quoting=quoting)
            left = itertools.count(number - (not self._form.titled), -1)
            for _ in itertools.takewhile(lambda row: not row or (next(left) and sum(map(len, row)) <= longest), rows):
                line = rows.line_num + 1 + self._form.skipped
        return line


@contextmanager
def _longest_field(characters: int) -> Iterator[None]:
    before = csv.field_size_limit(characters)
    try:
        yield
    finally:
        csv.field_size_limit(before)
