"""Interactions as text: CSV and TSV in UTF-8, plain or gzipped, read block by block with Arrow.

Arrow is fast but ignores invalid UTF-8 in unread columns and unclosed quotes, so both are checked here.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.csv

from service.errors import TrainingError
from service.model.factors import Int64
from service.training.columns import ColumnNames, naming
from service.training.data_files import DataFile
from service.training.rows import BadRows, Faults, Rows, check_batch

_GZIP_MAGIC = b"\x1f\x8b"
_DELIMITERS = ",\t;"
_LONGEST_HEADER = 2**16
_BLOCK_BYTES = 2**24

_TOO_LONG = sys.maxsize  # stands for the number of the first row that is longer than a block


def read_text(file: DataFile, raw: BufferedReader, names: ColumnNames, bad: BadRows) -> Iterator[tuple[Rows, int]]:
    """Yield the good rows of a text file block by block, with the number of bytes read so far.

    Raises TrainingError, and the errors of reading, unzipping and decoding.
    """
    table = _TextTable(file, names)
    for batch in table.batches(raw):
        rows = check_batch(batch, table.columns)
        bad.meet(table.faults(rows))
        yield rows.good(), raw.tell()
    bad.meet(table.faults())
    table.prove_ended()


class _Sealed(io.RawIOBase):
    """A text's bytes, checked to be UTF-8, followed by a seal; Arrow reads them in its own thread."""

    def __init__(self, source: Any, seal: str) -> None:
        self._chunks = self._sealed(source, b"\n" + seal.encode())

    def readable(self) -> bool:
        return True

    def read(self, _size: int = -1) -> bytes:  # pragma: no cover - coverage is not measured in Arrow's thread
        # Arrow requests a block each time, and a chunk is at most that.
        return next(self._chunks, b"")

    def _sealed(self, source: Any, seal: bytes) -> Iterator[bytes]:  # pragma: no cover - as above
        decoder = codecs.getincrementaldecoder("utf-8")()
        here = source.read(_BLOCK_BYTES - len(seal))
        while here:
            ahead = source.read(_BLOCK_BYTES - len(seal))
            decoder.decode(here, final=not ahead)
            yield here if ahead else here + seal
            here = ahead


class _TextTable:
    """One CSV file: its format, and the numbers of its rows, starting with 1 after the header.

    Arrow skips rows whose number of fields differs from the header's, and reports them a block in advance.
    """

    def __init__(self, file: DataFile, names: ColumnNames) -> None:
        self._file = file
        self._path = file.path
        self._delimiter, header = _form_of(file)
        with naming(file.path):
            self.columns = names.found_in(header)
        self._expected = len(header)
        # Arrow ignores an unclosed quote: the field continues to the end. So this seal is appended. By itself it is a
        # row of one field; after an open quote, it closes the quote and adds fields beyond the header's.
        self._seal = '"\0 the end \0' + self._delimiter * self._expected
        self._endless: int | None = None
        self._next = 1
        # Numbers of malformed rows, ascending, and their numbers of fields, as bytes rather than objects, because every
        # row may be malformed. Arrow may add to them from its own thread.
        self._misshapen, self._fields = array("q"), array("q")
        self._passed = 0

    def batches(self, raw: BufferedReader) -> Iterator[Any]:
        """Yield the columns of the file as text, block by block."""
        wanted = self.columns.given()
        source = pa.input_stream(raw, compression="gzip") if _is_zipped(raw) else raw
        try:
            with pa.csv.open_csv(
                _Sealed(source, self._seal),
                # On one thread, because otherwise Arrow does not report the position of a malformed row.
                pa.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
                pa.csv.ParseOptions(
                    delimiter=self._delimiter, newlines_in_values=True, invalid_row_handler=self._leave_out
                ),
                pa.csv.ConvertOptions(include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string())),
            ) as reader:
                yield from reader
        except pa.ArrowInvalid as error:
            if "straddl" not in str(error):
                raise
            self._endless = _TOO_LONG

    def _leave_out(self, row: Any) -> str:
        number = row.number - 1  # Arrow counts the header
        if not row.text.endswith(self._seal):
            self._fields.append(row.actual_columns)
            self._misshapen.append(number)
        elif row.text != self._seal:
            self._endless = number
        return "skip"

    def prove_ended(self) -> None:
        """Raise TrainingError if a row continues to the end or is longer than a block."""
        if self._endless is not None:
            where = f"{self._path}, line {self._line(self._endless)}"
            raise TrainingError(f"{where}: the row that begins here never ends; is a closing quote missing?")

    def faults(self, rows: Rows | None = None) -> Faults:
        """Return how many of the next rows, including skipped ones, are bad; without rows, of the rest."""
        numbers = self._numbers(0 if rows is None else len(rows.bad))
        misshapen = self._passed_by(sys.maxsize if rows is None else self._next)
        bad = [] if rows is None else np.flatnonzero(rows.bad).tolist()

        def describe() -> str:
            first = [(self._misshapen[index], self._misfit(index)) for index in misshapen[:1]]
            first += [(int(numbers[row]), rows.fault(row)) for row in bad[:1] if rows]
            number, fault = min(first)
            return f"{self._path}, line {self._line(number)}: {fault}"

        return len(misshapen) + len(bad), describe

    def _numbers(self, count: int) -> Int64:
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

    def _line(self, number: int) -> int:
        """Find the line where a row begins, on demand, because rows may span lines and lines may be empty."""
        line = 1
        # Arrow counts bytes, but csv counts characters, of up to four bytes.
        longest = _BLOCK_BYTES // 8 if number == _TOO_LONG else _BLOCK_BYTES
        with _open_text(self._file) as text, _longest_field(longest), suppress(csv.Error):
            rows = csv.reader(text, delimiter=self._delimiter)
            left = itertools.count(number, -1)
            for _ in itertools.takewhile(lambda row: not row or (next(left) and sum(map(len, row)) <= longest), rows):
                line = rows.line_num + 1
        return line


def _form_of(file: DataFile) -> tuple[str, list[str]]:
    """Return the delimiter of a file and the names in its header: the delimiter that gives the most names."""
    with _open_text(file) as text:
        head = text.read(_LONGEST_HEADER)
    if not head.strip():
        raise TrainingError(f"{file.path} is empty.")
    headers = {
        delimiter: next(filter(None, csv.reader(io.StringIO(head, newline=""), delimiter=delimiter)))
        for delimiter in _DELIMITERS
    }
    return max(headers.items(), key=lambda form: len(form[1]))


@contextmanager
def _longest_field(characters: int) -> Iterator[None]:
    before = csv.field_size_limit(characters)
    try:
        yield
    finally:
        csv.field_size_limit(before)


@contextmanager
def _open_text(file: DataFile) -> Iterator[TextIO]:
    with file.open() as raw:
        binary = gzip.GzipFile(fileobj=raw) if _is_zipped(raw) else raw
        with io.TextIOWrapper(binary, encoding="utf-8-sig", newline="") as text:
            yield text


def _is_zipped(raw: BufferedReader) -> bool:
    return raw.peek(len(_GZIP_MAGIC)).startswith(_GZIP_MAGIC)
