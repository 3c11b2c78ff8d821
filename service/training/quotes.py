"""Rows within a quoted field: a quote that is not closed takes the rows up to the next quote with it."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from service.model.factors import Int64

#: After so many rows that go on over several lines, they are taken for what the file is made of.
_MOST_LONG_TEXTS = 1000
_QUOTE, _BREAK, _RETURN = b'"\n\r'

#: The line where a row begins, and its number of lines.
Swallowing = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Looks:
    """What a row of a file looks like: its delimiter, its number of fields, and the places of those not empty."""

    delimiter: str
    fields: int
    needed: Sequence[int]

    def swallow(self, row: list[str]) -> bool:
        """Return whether every line of a row looks like a row of its own."""
        lines = [line.split(self.delimiter) for line in self.delimiter.join(row).splitlines()]
        return all(len(line) == self.fields and all(line[place] for place in self.needed) for line in lines)


def swallowing_rows(
    chunks: Iterable[bytes], looks: Looks, rows: int, line: int, longest: int
) -> list[Swallowing] | None:
    """Return each row that goes on over several lines of which every one looks like a row; None if that is not clear.

    A line break ends a row if the number of quotes before it is even. That is clear if every other quote is at the
    beginning of a field (or a doubled one), and if there are so many ``rows`` then. line: that of the beginning of the
    text. longest: the bytes of the longest row.
    """
    found: list[Swallowing] = []
    looked_at = 0
    for first, text, ended in _rows(chunks, looks.delimiter, longest):
        rows -= ended
        if text and looked_at < _MOST_LONG_TEXTS:
            looked_at += 1
            row = next(csv.reader(io.StringIO(text.decode(), newline=""), delimiter=looks.delimiter))
            if looks.swallow(row):
                found.append((line + first, text.count(b"\n")))
    return None if rows else found


def _rows(chunks: Iterable[bytes], delimiter: str, longest: int) -> Iterator[tuple[int, bytes, int]]:
    """Yield the number of the first line and the text of each row of several lines, and how many rows end otherwise.

    Stops where a quote is a letter, or a row is too long to be one.
    """
    may_precede = np.zeros(256, bool)
    may_precede[[*delimiter.encode(), _QUOTE, _BREAK, _RETURN]] = True
    held, line = b"", 0
    for chunk in itertools.chain(chunks, (b"\n",)):
        text = held + chunk
        letters = np.frombuffer(text, np.uint8)
        breaks, quotes = (np.flatnonzero(letters == letter) for letter in (_BREAK, _QUOTE))
        opening = quotes[::2][int(text.startswith(b'"')) :]
        ends = np.flatnonzero(np.searchsorted(quotes, breaks) % 2 == 0)
        if not may_precede[letters[opening - 1]].all() or len(held) > longest:
            return
        if not len(ends):
            held = text
            continue
        starts = np.concatenate(([0], breaks[ends[:-1]] + 1))
        yield 0, b"", len(ends) - _blank(letters, starts, breaks[ends])
        lines = np.diff(ends, prepend=-1)
        for row in np.flatnonzero(lines > 1).tolist():
            yield line + int(ends[row] - lines[row]) + 1, text[starts[row] : breaks[ends[row]] + 1], 0
        line += int(ends[-1]) + 1
        held = text[breaks[ends[-1]] + 1 :]


def _blank(letters: NDArray[np.uint8], starts: Int64, ends: Int64) -> int:
    """Return how many rows are empty; the last letter before its end may be a carriage return."""
    lengths = ends - starts
    return int((lengths == 0).sum() + (letters[starts[lengths == 1]] == _RETURN).sum())


def swallowing_rows_slowly(text: TextIO, looks: Looks, line: int) -> Iterator[Swallowing]:
    """Yield the same for a text in which a quote may be a letter within a field that is not quoted."""
    long_texts, read = 0, 0
    rows = csv.reader(text, delimiter=looks.delimiter)
    with suppress(csv.Error):  # Arrow, which reads the rows, says what is wrong with them
        for row in rows:
            lines, read = rows.line_num - read, rows.line_num
            if lines > 1:
                if looks.swallow(row):
                    yield line, lines
                long_texts += 1
                if long_texts == _MOST_LONG_TEXTS:
                    return
            line += lines
