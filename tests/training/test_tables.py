"""Bad rows and odd tables of interactions."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import TrainingError
from service.training.interactions import read_interactions
from tests.support.interactions import as_dict, blocks_of, first_met, write

Fields: TypeAlias = Sequence[str]

REMEDY = "; fix it, or skip bad rows with --skip-bad-rows."
NO_ID = "an id is 1 to 256 bytes of text without NUL"
NO_WEIGHT = "it must be a number other than 0, of at most 1e15"
GOOD = "user,item\na,x\nb,y\n"


def complaint_of(path: Path) -> str:
    """Return the sentence that says why a path is not read."""
    with pytest.raises(TrainingError) as caught:
        read_interactions([path])
    return str(caught.value)


def table(path: Path, **columns: Any) -> Path:
    """Write a Parquet file."""
    pq.write_table(pa.table(columns), path)
    return path


class TestBadRows:
    """Rows of text that make no sense."""

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("user,item\na,x\nb\n", "line 3: there are 1 fields, but the header has 2"),
            ("user,item\na,x,\n", "line 2: there are 3 fields, but the header has 2"),
            ("user,item\n  \n", "line 2: there are 1 fields, but the header has 2"),
            ("user,item\n,x\n", f"line 2: the user is missing; {NO_ID}"),
            ('user,item\na,""\n', f"line 2: the item is missing; {NO_ID}"),
            (f"user,item\na,{'é' * 129}\n", f"line 2: the item is '{'é' * 20}'…; {NO_ID}"),
            ("user,item\na,x\0y\n", rf"line 2: the item is 'x\x00y'; {NO_ID}"),
            *((f"user,item,weight\na,x,{weight}\n", f"line 2: the weight is '{weight}'; {NO_WEIGHT}")
              for weight in ("many", "0", "-2e15", "nan", "inf", "1e999", "1.1e15", "1·5")),
            ("user,item,weight\na,x,\n", f"line 2: the weight is missing; {NO_WEIGHT}"),
            ("user,item,weight,time\na,x,0,noon\n", f"line 2: the weight is '0'; {NO_WEIGHT}"),
        ],
    )  # fmt: skip
    def test_a_bad_row_is_named(self, tmp_path: Path, text: str, complaint: str) -> None:
        """The error names the first bad row, with its file and line, and what to do about it."""
        path = write(tmp_path / "bad.csv", text)
        assert complaint_of(path) == f"{path}, {complaint}{REMEDY}"

    @pytest.mark.parametrize(
        ("before", "line"),
        [
            ("user,item\n", 2),
            ("\n\r\nuser,item\n\n\n", 6),
            ("\ufeffuser,item\r\na,x\r\n\r\n", 4),
            ("user,item\ra,x\r\r", 4),
            ('user,"item"\n"a\n\n\nb",x\n"a\r\nb",x\n', 8),
            ('"user\n",item\n"a\n""\n",x\n', 6),
        ],
        ids=["header", "empty lines", "CRLF", "CR", "breaks in ids", "breaks in the header"],
    )
    @pytest.mark.parametrize("row", ["b", ",y", '"\n\n"""'], ids=["fields", "id", "breaks"])
    @pytest.mark.parametrize("zipped", [False, True])
    def test_the_line_is_that_of_an_editor(
        self, tmp_path: Path, before: str, line: int, row: str, zipped: bool
    ) -> None:
        """The line is the one where an editor shows the row to begin, whatever came before."""
        path = write(tmp_path / "bad.csv", f"{before}{row}\nc,z\n")
        if zipped:
            path.write_bytes(gzip.compress(path.read_bytes()))
        assert complaint_of(path).startswith(f"{path}, line {line}: ")

    @pytest.mark.parametrize(
        ("rows", "line"),
        [
            (["a,x,1"] * 9 + ["a,x,0"] + ["a,x"] * 90, 11),
            (["a,x"] * 90, 2),
            (["a,x"] * 90 + ["a,x,1"] * 90, 2),
            (["a,x,1"] * 9 + ["a,x"] * 90 + ["a,x,0"], 11),
            (["a,x,1"] * 90 + ["a,x", "a,x,0"] + ["a,x,1"] * 90, 92),
            (["a,x,1"] * 90 + ["a,x,0", "a,x"] + ["a,x,1"] * 90, 92),
            (["a,x,1"] * 90 + ["a,x"], 92),
        ],
    )
    @pytest.mark.parametrize("size", [64, 100, 2**24])
    def test_it_is_the_first(self, tmp_path: Path, rows: list[str], line: int, size: int) -> None:
        """Of several bad rows the first is named, however they fall into blocks, within which Arrow looks ahead."""
        path = write(tmp_path / "bad.csv", "\n".join(["user,item,weight", *rows]))
        with blocks_of(size):
            assert complaint_of(path).startswith(f"{path}, line {line}: ")

    def test_a_very_long_field_before_it(self, tmp_path: Path) -> None:
        """A field that is longer than Python's csv takes by itself does not hide the line, nor change that limit."""
        limit = csv.field_size_limit()
        path = write(tmp_path / "long.csv", f"user,item,review\na,x,{'very ' * 50_000}\nb,,short\n")
        assert complaint_of(path) == f"{path}, line 3: the item is missing; {NO_ID}{REMEDY}"
        assert csv.field_size_limit() == limit

    def test_skipping(self, tmp_path: Path) -> None:
        """Bad rows are skipped and counted when asked for, in all files, and the first is remembered."""
        first = write(tmp_path / "first.csv", "user,item\na,x\nb\n\nc,\nd,y\n,\n1,2,3\n")
        paths = [first, write(tmp_path / "second.csv", "user,item,weight\na,x,1\ne,z,no\n")]
        read = read_interactions(paths, skip_bad_rows=True)
        assert as_dict(read) == {("a", "x"): 2, ("d", "y"): 1}
        assert (read.rows, read.account.count) == (3, 5)
        assert read.account.first == f"{first}, line 3: there are 1 fields, but the header has 2"


BAD: tuple[Fields, ...] = (
    ("", "x", "1"), ("a", "", "1"), ("a", "x", ""), ("a", "x", "many"), ("a", "x", "0"), ("a", "x", "-2e15"),
    ("a", "x", "inf"), ("a", "x", "nan"), ("a", "x"), ("a\n\nb",), ("a", "x", "1", "2"), ("é" * 129, "x", "1"),
    ("a\0", "x", "1"), ("a\nb", "", "1"),
)  # fmt: skip
IDS = st.text('ab,\n\r"é', min_size=1, max_size=4)
MIXED = st.lists(
    st.one_of(st.tuples(IDS, IDS, st.integers(1, 9).map(str)), st.sampled_from(BAD), st.just(())), max_size=40
)
ALWAYS: list[Fields] = [("one", "1", "1"), ("two", "2", "1")]


def text_of(rows: Sequence[Fields]) -> str:
    """Write rows as CSV with every field in quotes; one without fields is an empty line."""
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([("user", "item", "weight"), *rows])
    return text.getvalue()


@given(rows=MIXED, size=st.sampled_from([600, 1000, 2**24]))
def test_skipping_is_as_if_they_had_never_been(rows: list[Fields], size: int) -> None:
    """Reading with bad rows skipped is reading without them, and their number is right."""
    good = [row for row in rows if row not in BAD]
    with tempfile.TemporaryDirectory() as directory, blocks_of(size):
        mixed, cleaned = (
            read_interactions([write(Path(directory, "table.csv"), text_of(ALWAYS + part))], skip_bad_rows=True)
            for part in (rows, good)
        )
    assert as_dict(mixed) == as_dict(cleaned)
    assert (mixed.rows, mixed.account.count) == (cleaned.rows, len(rows) - len(good))


@given(rows=MIXED, bad=st.sampled_from(BAD), rest=MIXED, size=st.sampled_from([600, 1000, 2**24]))
def test_the_first_bad_row_is_named(rows: list[Fields], bad: Fields, rest: list[Fields], size: int) -> None:
    """Wherever bad rows stand, the line is that of the first, with breaks in quotes and empty lines counted."""
    good = [row for row in rows if row not in BAD]
    line = 1 + len(re.findall(r"\r\n|\r|\n", text_of(good)))
    with tempfile.TemporaryDirectory() as directory, blocks_of(size):
        path = write(Path(directory, "table.csv"), text_of([*good, bad, *rest]))
        assert complaint_of(path).startswith(f"{path}, line {line}: ")


class TestOpenQuotes:
    """Quotes that are opened and never closed."""

    @pytest.mark.parametrize("row", ['"c,z,1', 'c,"z,1', 'c,z,"1', '"c,z,""1'])
    @pytest.mark.parametrize("after", ["", "\n", "\nd,w,1" * 200], ids=["end", "line break", "rows"])
    @pytest.mark.parametrize("size", [300, 2**24])
    @pytest.mark.parametrize("skip", [False, True])
    def test_it_is_named(self, tmp_path: Path, row: str, after: str, size: int, skip: bool) -> None:
        """Nothing is taken for a field that goes on to the end, nor skipped: the line where it begins is named."""
        path = write(tmp_path / "open.csv", "user,item,note\na,x,1\n\nb,y,1\n" + row + after)
        with blocks_of(size), pytest.raises(TrainingError) as caught:
            read_interactions([path], skip_bad_rows=skip)
        assert str(caught.value) == (
            f"{path}, line 5: the row that begins here never ends; is a closing quote missing?"
        )

    @pytest.mark.parametrize("field", ["z" * 580, "é" * 290, "😀" * 145, ",".join("z" * 580)])
    def test_a_row_that_is_longer_than_a_block(self, tmp_path: Path, field: str) -> None:
        """A row that is too long to be one is named too, in characters of any width."""
        path = write(tmp_path / "long.csv", f"user,item,note\na,x,1\nb,y,1\nc,z,{field}\n" + "d,w,1\n" * 200)
        with blocks_of(300):
            assert complaint_of(path).startswith(f"{path}, line 4: the row that begins here never ends;")

    def test_a_header_that_is_longer_than_a_block(self, tmp_path: Path) -> None:
        """Nor is there a table whose header is too long to be one."""
        path = write(tmp_path / "long.csv", f"user,item,{'z' * 1000}\na,x,1\nb,y,1\n")
        with blocks_of(300):
            assert complaint_of(path).startswith(f"{path} cannot be read as ")

    def test_quotes_within_a_field(self, tmp_path: Path) -> None:
        """A quote that does not begin a field is a character as any other."""
        path = write(tmp_path / "inches.csv", 'user,item\na,5" pipe\nb,6" pipe"\n')
        assert as_dict(read_interactions([path])) == {("a", '5" pipe'): 1, ("b", '6" pipe"'): 1}


class TestParquet:
    """What Parquet files hold."""

    @pytest.mark.parametrize(
        ("ids", "expected"),
        [
            (pa.array([2, 1], pa.int16()), [1, 2]),
            (pa.array([-(2**63), 2**63 - 1]), [-(2**63), 2**63 - 1]),
            (pa.array([2**64 - 1, 5], pa.uint64()), ["18446744073709551615", "5"]),
            (pa.array(["b", "a"]), ["a", "b"]),
            (pa.array(["b", "a"], pa.large_string()), ["a", "b"]),
            (pa.array(["b", "a"], pa.string_view()), ["a", "b"]),
            (pa.array(["b", "a"]).dictionary_encode(), ["a", "b"]),
            (pa.array([2, 1]).dictionary_encode(), [1, 2]),
            (pa.array(["2", "1"]), [1, 2]),
        ],
    )
    def test_types_of_ids(self, tmp_path: Path, ids: Any, expected: list[object]) -> None:
        """Ids are whole numbers of any width, or text of any kind; text that is a number is one, as in CSV."""
        read = read_interactions([table(tmp_path / "ids", user=ids, item=ids)])
        assert read.user_ids.tolist() == read.item_ids.tolist() == expected

    @pytest.mark.parametrize(
        "weights",
        [pa.array([2, 3], pa.uint8()), pa.array([2.0, 3.0], pa.float16()), pa.array([2, 3]).cast(pa.decimal128(20, 0)),
         pa.array(["2", "3"]), pa.array(["2", " 3 "]).dictionary_encode()],
    )  # fmt: skip
    def test_types_of_weights(self, tmp_path: Path, weights: Any) -> None:
        """Weights are numbers of any kind, or their text."""
        path = table(tmp_path / "weights", user=["a", "b"], item=["x", "y"], weight=weights)
        assert as_dict(read_interactions([path])) == {("a", "x"): 2, ("b", "y"): 3}

    @pytest.mark.parametrize(
        ("times", "expected"),
        [
            (pa.array([1_500_000_001, 0], pa.timestamp("ns")), [1.5, 0]),
            (pa.array([1500, 0], pa.timestamp("ms", "Asia/Tokyo")), [1.5, 0]),
            (pa.array([2, 1], pa.date32()), [172800, 86400]),
            (pa.array([1.5, 0.5]), [1.5, 0.5]),
            (pa.array([2**60, 7]), [2**60, 7]),
            (pa.array(["1970-01-01T00:00:01.5Z", "7"]), [1.5, 7]),
        ],
    )
    def test_types_of_times(self, tmp_path: Path, times: Any, expected: list[float]) -> None:
        """Times are timestamps, dates, numbers or text."""
        path = table(tmp_path / "times", user=["a", "b"], item=["x", "y"], time=times)
        assert first_met(read_interactions([path])) == expected

    @pytest.mark.parametrize(
        ("columns", "complaint"),
        [
            ({"user": [True, False]}, "the column user is of type bool; ids are whole numbers or text"),
            ({"item": [["x"], ["y"]]},
             "the column item is of type list<element: string>; ids are whole numbers or text"),
            ({"item": [b"x", b"\xff"]},
             "the column item has bytes that are not UTF-8 text; ids are whole numbers or text"),
            ({"weight": pa.array([1, 2], pa.timestamp("ns"))},
             "the column weight is of type timestamp[ns]; weights are numbers: to do without, give "
             '--weight-column "" (of a server: ALS_TRAINING_COLUMNS=weight=)'),
        ],
    )  # fmt: skip
    def test_types_that_cannot_be(self, tmp_path: Path, columns: dict[str, Any], complaint: str) -> None:
        """A column of another type is refused as a whole."""
        path = table(tmp_path / "types", **{"user": ["a", "b"], "item": ["x", "y"], **columns})
        assert complaint_of(path) == f"{path}: {complaint}."

    @pytest.mark.parametrize(
        ("columns", "complaint"),
        [
            ({"user": ["a", None, "c"]}, f"the user is missing; {NO_ID}"),
            ({"item": [1, None, None]}, f"the item is missing; {NO_ID}"),
            ({"weight": [1, 0, 1]}, f"the weight is 0; {NO_WEIGHT}"),
            ({"weight": [1.0, float("nan"), 1.0]}, f"the weight is nan; {NO_WEIGHT}"),
            ({"weight": [1.0, None, 1.0]}, f"the weight is missing; {NO_WEIGHT}"),
            ({"weight": ["1", None, "many"]}, f"the weight is missing; {NO_WEIGHT}"),
        ],
    )
    @pytest.mark.parametrize("size", [1, 2, 2**18])
    def test_a_bad_row_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: dict[str, Any], complaint: str, size: int
    ) -> None:
        """A bad row is named by its number, the first being 1."""
        monkeypatch.setattr("service.training.tables._BATCH_ROWS", size)
        path = table(tmp_path / "bad", **{"user": ["a", "b", "c"], "item": ["x", "y", "z"], **columns})
        assert complaint_of(path) == f"{path}, row 2: {complaint}{REMEDY}"

    def test_skipping(self, tmp_path: Path) -> None:
        """Bad rows are skipped when asked for, with their weights and times."""
        path = table(
            tmp_path / "bad", user=["a", None, "c", "d"], item=[1, 2, 3, 4], weight=[5, 6, 7, 0], time=[9, 8, 7, 6]
        )
        read = read_interactions([path], skip_bad_rows=True)
        assert as_dict(read) == {("a", 1): 5, ("c", 3): 7}
        assert first_met(read) == [9, 7]
        assert (read.account.count, read.account.first) == (2, f"{path}, row 2: the user is missing; {NO_ID}")


class TestUnreadable:
    """Paths behind which there is no table."""

    @pytest.mark.parametrize(
        "content",
        [
            gzip.compress(GOOD.encode())[:-9],
            gzip.compress(GOOD.encode() + np.random.default_rng(0).bytes(2**18).hex().encode())[:-9],
            gzip.compress(GOOD.encode()) + b"rubbish",
            b"\x1f\x8b\x08\x00 rubbish",
            b"PAR1",
            b"PAR1 rubbish" * 9 + b"PAR1",
        ],
        ids=["gzip cut short", "longer gzip cut short",
             "gzip and more", "not gzip after all", "not Parquet after all", "damaged Parquet"],
    )  # fmt: skip
    def test_content(self, tmp_path: Path, content: bytes) -> None:
        """Whatever cannot be read is said in one sentence that begins with the file."""
        path = tmp_path / "data.csv"
        path.write_bytes(content)
        complaint = complaint_of(path)
        assert complaint.startswith(f"{path} cannot be read as Parquet, nor as CSV in UTF-8, plain or gzipped: ")
        assert "\n" not in complaint

    @pytest.mark.parametrize("size", [1000, 1001, 1002])
    def test_text_that_is_not_utf8_far_into_a_file(self, tmp_path: Path, size: int) -> None:
        """All of a text is UTF-8, whether a row with other bytes is needed, bad, or the last."""
        path = tmp_path / "data.csv"
        for row in (b"\xff,x", b"\xff", b"a,x\xe2\x82"):
            path.write_bytes(GOOD.encode() + "a,€\n".encode() * 20_000 + row)
            with blocks_of(size):
                assert complaint_of(path).startswith(f"{path}, line 20004: the byte 0x")

    def test_parquet_with_text_that_is_not_utf8(self, tmp_path: Path) -> None:
        """Nor is other text taken from Parquet, which Arrow would do."""
        text = pa.StringArray.from_buffers(2, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"\xffb"))
        path = table(tmp_path / "data", user=text, item=[1, 2])
        assert complaint_of(path).startswith(f"{path} cannot be read as ")

    def test_parquet_that_was_cut(self, tmp_path: Path) -> None:
        """A Parquet file with a hole is as unreadable as one without an end."""
        path = table(tmp_path / "data", user=["a", "b"] * 500, item=list(range(1000)))
        content = path.read_bytes()
        for damaged in (content[:-20], content[:4] + bytes(400) + content[404:]):
            path.write_bytes(damaged)
            assert complaint_of(path).startswith(f"{path} cannot be read as ")

    @pytest.mark.parametrize(
        ("name", "why"),
        [("missing.csv", "No such file or directory"), ("a" * 300, "File name too long"),
         ("file/below", "Not a directory")],
    )  # fmt: skip
    def test_a_path_to_nothing(self, tmp_path: Path, name: str, why: str) -> None:
        """A path that leads to nothing says why."""
        write(tmp_path / "file", GOOD)
        assert complaint_of(tmp_path / name) == f"{tmp_path / name} cannot be read: {why}."

    def test_a_pipe(self, tmp_path: Path) -> None:
        """A pipe, which can be read once and never ends if nobody writes, is not waited for."""
        os.mkfifo(tmp_path / "pipe")
        assert complaint_of(tmp_path / "pipe") == (
            f"{tmp_path / 'pipe'} is neither a file nor a directory; write its content to a file."
        )

    def test_a_directory_without_tables(self, tmp_path: Path) -> None:
        """A directory without tables says what it would have read."""
        write(tmp_path / "notes.md", "rubbish")
        assert complaint_of(tmp_path) == (
            f"{tmp_path} has no file that ends in .csv, .csv.gz, .csv.zst, .csv.bz2, .csv.lz4, .tsv, .tsv.gz, "
            ".tsv.zst, .tsv.bz2, .tsv.lz4, .parquet."
        )
