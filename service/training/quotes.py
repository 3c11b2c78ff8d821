"""Rows within a quoted field: a quote that is not closed takes the rows up to the next quote with it."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TextIO

#: After so many rows that go on over several lines, they are taken for what the file is made of.
_MOST_LONG_TEXTS = 1000


def swallowing_rows(
    text: TextIO, delimiter: str, fields: int, needed: Sequence[int], line: int
) -> Iterator[tuple[int, int]]:
    """Yield the line and the number of lines of each row of which every line looks like a row of its own.

    It does if it has so many fields, and these fields are not empty. line: that of the beginning of the text.
    """
    long_texts, read = 0, 0
    rows = csv.reader(text, delimiter=delimiter)
    with suppress(csv.Error):  # Arrow, which reads the rows, says what is wrong with them
        for row in rows:
            lines, read = rows.line_num - read, rows.line_num
            if lines > 1:
                parts = [part.split(delimiter) for part in delimiter.join(row).splitlines()]
                if all(len(part) == fields and all(part[place] for place in needed) for part in parts):
                    yield line, lines
                long_texts += 1
                if long_texts == _MOST_LONG_TEXTS:
                    return
            line += lines
