"""Text as a stream of UTF-8, in chunks that may end anywhere."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.tables.streams import undecodable_line, utf8_chunks
from service.training.data_files import DataFile

LINES = st.lists(st.text("a:é\t ", max_size=6), min_size=1, max_size=6).map("\n".join)


@given(LINES, st.integers(3, 9), st.sampled_from(["utf-8", "latin-1", "utf-16"]))
def test_chunks_are_the_whole_text_in_utf_8(text: str, size: int, encoding: str) -> None:
    """Wherever a chunk ends, be it within a character, nothing is lost."""
    chunks = utf8_chunks(io.BytesIO(text.encode(encoding)), encoding, size)
    assert b"".join(chunks).decode() == text


@given(LINES, st.integers(3, 9))
def test_a_delimiter_is_replaced_even_across_chunks(text: str, size: int) -> None:
    """Arrow knows no delimiter of two characters, so it gets another one."""
    chunks = utf8_chunks(io.BytesIO(text.encode()), "utf-8", size, renamed=("::", "\t"))
    assert b"".join(chunks) == text.replace("::", "\t").encode()


def test_the_first_lines_can_be_skipped() -> None:
    """A line such as ``sep=;`` is not data."""
    chunks = utf8_chunks(io.BytesIO(b"sep=;\na;b\n1;2\n"), "utf-8", 10, skipped=1)
    assert b"".join(chunks) == b"a;b\n1;2\n"


@pytest.mark.parametrize(
    ("content", "encoding", "line"),
    [
        (b"a\nb\xff\nc", "utf-8", 2),
        ("a\né".encode(), "utf-8", None),
        ("é\n".encode("latin-1"), "ascii", 1),
        (b"\xff\xfea", "utf-16", None),
    ],
)
def test_the_line_with_other_bytes_is_found(tmp_path: Path, content: bytes, encoding: str, line: int | None) -> None:
    """The first line that is not valid in an encoding; none where lines do not end as in ASCII."""
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    assert undecodable_line(DataFile(path, len(content)), encoding) == line


@given(st.lists(st.text("a ", max_size=6), min_size=1, max_size=6), st.sampled_from(["\n", "\r\n"]), st.integers(3, 9))
def test_runs_of_blanks_are_squeezed_even_across_chunks(rows: list[str], end: str, size: int) -> None:
    """Each is one delimiter, except at the ends of a line, where it is none."""
    chunks = list(utf8_chunks(io.BytesIO(end.join(rows).encode()), "utf-8", size, squeezed=True))
    assert b"".join(chunks).decode() == end.join(" ".join(row.split()) for row in rows)
    assert all(chunks)  # a reader would take an empty one for the end


@pytest.mark.parametrize("size", [3, 4, 10, 100])
def test_skipped_lines_may_end_anywhere(size: int) -> None:
    """Where the chunks are small, or the text has not more lines than are skipped."""
    for text, left in ((b"# a\n# b\n1 2\n", b"1 2\n"), (b"# a\n# b\n", b""), (b"# a\n", b"")):
        chunks = list(utf8_chunks(io.BytesIO(text), "utf-8", size, skipped=2))
        assert b"".join(chunks) == left
        assert all(chunks)
