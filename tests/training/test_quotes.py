"""Rows within a quoted field are found fast where quotes are only quotes, and otherwise one row after another."""

from __future__ import annotations

import csv
import io

from hypothesis import example, given
from hypothesis import strategies as st

from service.training.quotes import Looks, Swallowing, swallowing_rows, swallowing_rows_slowly

LOOKS = Looks(",", 2, [0, 1])

pieces = st.lists(
    st.sampled_from(["a", "é", '"', '""', ",", "\n", "\r\n", '"a', 'b"', ',"', '",', "x,y\n", '"p\nq"\n'])
)


def fast(text: str, size: int, rows: int) -> list[Swallowing] | None:
    """Look for rows in chunks of this size."""
    content = text.encode()
    chunks = [content[start : start + size] for start in range(0, len(content), size)]
    return swallowing_rows(chunks, LOOKS, rows, 1, 2**24)


def slowly(text: str) -> list[Swallowing]:
    """Look for them with the csv module."""
    return list(swallowing_rows_slowly(io.StringIO(text, newline=""), LOOKS, 1))


def rows_of(text: str) -> int:
    """Count the rows that are not empty."""
    return sum(map(bool, csv.reader(io.StringIO(text, newline=""))))


@given(pieces.map("".join), st.integers(1, 40))
@example('u,1\nv,"2\nw,3\nx,4"\ny,5\n', 7)
@example('u,5" disk\nv,"2\nw,3"\ny,7" disk\nz,1\n', 7)
@example('"u","1"\n\n\r\n"v","a ""b""\n,"\n', 7)
def test_what_is_clear_is_what_the_rows_are(text: str, size: int) -> None:
    """Whatever is said without reading each row is so; it is said of every text whose quotes are around fields."""
    if text.count('"') % 2:
        text += '"'  # an open quote is found before
    text = text if text.endswith("\n") else text + "\n"
    found = fast(text, size, rows_of(text))
    assert found in (None, slowly(text))


@given(st.lists(st.lists(st.text(st.sampled_from('ab",\n')), min_size=2, max_size=2)), st.integers(1, 40))
def test_it_is_clear_where_a_program_wrote_the_quotes(rows: list[list[str]], size: int) -> None:
    """What the csv module writes needs no slow look, with texts of several lines, quotes and empty lines in them."""
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n").writerows(rows)
    text = file.getvalue()
    assert fast(text, size, rows_of(text)) == slowly(text)


def test_a_row_that_is_too_long() -> None:
    """Where quotes are letters, the text is not gathered up to the end."""
    text = 'u,"\n' + "v,1\n" * 1000
    chunks = (text[start : start + 100].encode() for start in range(0, len(text), 100))
    assert swallowing_rows(chunks, LOOKS, 1, 1, 300) is None
    assert next(chunks)
