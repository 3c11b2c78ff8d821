"""Interactions read from text and Parquet."""

from __future__ import annotations

import csv
import gzip
import io
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import TrainingError
from service.model.tables.ids import MISSING
from service.training import tables
from service.training.columns import ColumnNames
from service.training.interactions import Interactions, read_interactions
from service.training.layout import Layout
from tests.support.interactions import Pairs, as_dict, blocks_of, first_met, write

Row: TypeAlias = tuple[str, str, int, int]

HEADER = ("user_id", "item_id", "quantity", "timestamp")
SMALL = "user_id,item_id,quantity\nben,7,1\nana,7,2\nana,3,1\nchloe,11,1.5\nchloe,3,1\n"


@pytest.fixture
def small(tmp_path: Path) -> Interactions:
    """Five interactions of three users with three items."""
    return read_interactions([write(tmp_path / "small.csv", SMALL)])


class TestWhatIsRead:
    """Interactions, as they come out."""

    def test_ids_and_weights(self, small: Interactions) -> None:
        """Ids ascend, numbers stay numbers and text stays text, and each pair has its weight."""
        assert small.user_ids.tolist() == ["ana", "ben", "chloe"]
        assert small.item_ids.tolist() == [3, 7, 11]
        assert small.item_ids.dtype == np.int64
        assert small.weights.dtype == np.float32
        assert as_dict(small) == {
            ("ana", 3): 1, ("ana", 7): 2, ("ben", 7): 1, ("chloe", 3): 1, ("chloe", 11): 1.5,
        }  # fmt: skip

    def test_what_was_counted(self, small: Interactions) -> None:
        """There is a number of rows; none was skipped, and without times no pair has one."""
        assert (small.rows, small.account.count, small.account.first, small.first_met) == (5, 0, "", None)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("user_id,item_id\na,x\na,x\nb,y\n", {("a", "x"): 2, ("b", "y"): 1}),
            ("item_id,when,weight,user_id\nx,noon,3,a\ny,,1,b\n", {("a", "x"): 3, ("b", "y"): 1}),
            ("\ufeffuser_id,item_id\r\na,x\r\n\r\nb,y\r\n", {("a", "x"): 1, ("b", "y"): 1}),
            ('\ufeff"user_id","item_id"\r\na,x\r\nb,y', {("a", "x"): 1, ("b", "y"): 1}),
            ("\n\nuser_id,item_id\n\na,x\n\n\nb,y\n\n", {("a", "x"): 1, ("b", "y"): 1}),
            ('user_id,item_id\n"a,b","x\ny"\nc,"""z"""\n', {("a,b", "x\ny"): 1, ("c", '"z"'): 1}),
            ("user_id\titem_id\na,b\tx\nc\t;;\n", {("a,b", "x"): 1, ("c", ";;"): 1}),
            ("user_id;item_id\na,b;x\nc;y\n", {("a,b", "x"): 1, ("c", "y"): 1}),
            ('"a;b;c;d",user_id,item_id\n0,a,x\n0,b,y\n', {("a", "x"): 1, ("b", "y"): 1}),
            (" user_id , item_id \na,x\nb,y\n", {("a", "x"): 1, ("b", "y"): 1}),
            ("user_id,item_id\n1,042\n-2,7\n", {(1, "042"): 1, (-2, "7"): 1}),
            ("user_id,item_id\n-9223372036854775808,x\n9223372036854775807,y\n",
             {(-(2**63), "x"): 1, (2**63 - 1, "y"): 1}),
            ("user_id,item_id\n1,9223372036854775808\n2,7\n", {(1, "9223372036854775808"): 1, (2, "7"): 1}),
            (f"user_id,item_id\n{'é' * 128},x\nb,y\n", {("é" * 128, "x"): 1, ("b", "y"): 1}),
            ("user_id,item_id\nNULLA,NaNA\nnullo,\u2028\n", {("NULLA", "NaNA"): 1, ("nullo", "\u2028"): 1}),
            ("user_id,item_id,weight\na,x,+1e2\na,x, 1 \nb,y,2\n", {("a", "x"): 101, ("b", "y"): 2}),
        ],
        ids=["repeats are summed", "columns in any order", "BOM, CRLF, empty lines", "BOM, quotes, no last line break",
             "empty lines before the header", "quotes", "tabs", "semicolons", "delimiters in a quoted header",
             "blanks around names", "one text makes a column text", "the ends of int64", "too large for int64",
             "longest id", "text that is nearly nothing", "forms of numbers"],
    )  # fmt: skip
    def test_forms_of_text(self, tmp_path: Path, text: str, expected: Pairs) -> None:
        """What spreadsheets and databases write is read as it is meant."""
        assert as_dict(read_interactions([write(tmp_path / "some.csv", text)])) == expected

    def test_the_smallest_weight_stays_a_weight(self, tmp_path: Path) -> None:
        """Whatever is above 0 weighs more than 0, even what float32 would make 0."""
        path = write(tmp_path / "tiny.csv", "user,item,weight\na,x,1e-300\nb,y,1\n")
        assert read_interactions([path]).weights.data.min() > 0

    def test_gzip_is_recognized_by_content(self, tmp_path: Path, small: Interactions) -> None:
        """A gzipped file is read whatever it is called, in one part or, as logs are joined, in several."""
        path = tmp_path / "small.csv"
        head, rest = SMALL[:30].encode(), SMALL[30:].encode()
        for content in (gzip.compress(head + rest), gzip.compress(head) + gzip.compress(rest)):
            path.write_bytes(content)
            assert as_dict(read_interactions([path])) == as_dict(small)


class TestColumns:
    """Which columns are read."""

    @pytest.mark.parametrize(
        "header",
        ["user_id,item_id,rating", "userId,movieId,rating", "user,item,weight", "customer_id,product_id,quantity",
         "User-ID,ISBN,Count", "visitorid,itemid,strength", "USER_ID,Book Id,plays", "userID,artistID,playCount"],
    )  # fmt: skip
    def test_usual_names(self, tmp_path: Path, header: str) -> None:
        """Columns that are called as is usual need not be named."""
        path = write(tmp_path / "usual.csv", f"{header}\n1,7,2\n2,8,3\n")
        assert as_dict(read_interactions([path])) == {(1, 7): 2, (2, 8): 3}

    @pytest.mark.parametrize("time", ["timestamp", "time", "date", "created_at", "unixTime"])
    def test_usual_names_of_times(self, tmp_path: Path, time: str) -> None:
        """So do times."""
        path = write(tmp_path / "usual.csv", f"user,item,{time}\n1,7,20\n2,8,10\n")
        assert first_met(read_interactions([path])) == [20, 10]

    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            (ColumnNames(user="who", item="what"), {("a", "x"): 5, ("b", "y"): 6}),
            (ColumnNames(user="who", item="what", weight=" n "), {("a", "x"): 1, ("b", "y"): 2}),
            (ColumnNames(user="who", item="what", weight=""), {("a", "x"): 1, ("b", "y"): 1}),
            (ColumnNames(user="article", item="what"), {("c", "x"): 5, ("d", "y"): 6}),
            (ColumnNames(user="article", weight="n"), {("c", "k"): 1, ("d", "l"): 2}),
        ],
        ids=["named", "instead of a usual one", "not to be read", "named against its usual sense",
             "what is named for one thing is not another"],
    )  # fmt: skip
    def test_named_columns(self, tmp_path: Path, names: ColumnNames, expected: Pairs) -> None:
        """A name that is given decides, and an empty one leaves weights or times out."""
        text = ",who,what,n,rating,article,book\n0,a,x,1,5,c,k\n1,b,y,2,6,d,l\n"  # pandas writes its index unnamed
        assert as_dict(read_interactions([write(tmp_path / "named.csv", text)], Layout(names))) == expected

    @pytest.mark.parametrize(
        ("header", "names", "complaint"),
        [
            ("rating,rubbish", ColumnNames(),
             "the header lacks a column of users and a column of items; it has rating, rubbish: "
             "name the column with --user-column and --item-column (of a server: ALS_TRAINING_COLUMNS)"),
            ("user", ColumnNames(),
             "the header lacks a column of items; it has user: name the column with --item-column "
             "(of a server: ALS_TRAINING_COLUMNS)"),
            ("user,item", ColumnNames(user="who"), "the header lacks the column 'who'; it has user, item"),
            ("user,item", ColumnNames(item=""),
             "the header lacks a column of items; it has user, item: name the column with --item-column "
             "(of a server: ALS_TRAINING_COLUMNS)"),
            ("user,item,weight,quantity", ColumnNames(),
             "the header has weight and quantity; name the right one with --weight-column "
             "(of a server: ALS_TRAINING_COLUMNS)"),
            ("user,item,n,n", ColumnNames(weight="n"), "the header has n and n; give each column its own name"),
            ("user,item", ColumnNames(user="item", item="item"),
             "the column 'item' is named for more than one of user, item, weight and time"),
            ('user,"item\n', ColumnNames(),
             r"the header lacks a column of items; it has user, item\u000a\u000aa,x\u000ab,y\u000a: "
             "name the column with --item-column (of a server: ALS_TRAINING_COLUMNS)"),
            (",".join("abcdefghijklmnopqrstuvwxyz"), ColumnNames(user="0"),
             "the header lacks the column '0'; it has a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, …"),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("parquet", [False, True], ids=["text", "Parquet"])
    def test_a_header_without_them(
        self, tmp_path: Path, header: str, names: ColumnNames, complaint: str, parquet: bool
    ) -> None:
        """What is missing, or could be several, is said with what the header has and with what to do."""
        path = write(tmp_path / "table", f"{header}\na,x\nb,y\n")
        if parquet:
            columns = next(csv.reader(io.StringIO(path.read_text())))
            pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * len(columns), columns), path)
        with pytest.raises(TrainingError) as caught:
            read_interactions([path], Layout(names))
        assert str(caught.value) == f"{path}: {complaint}."


class TestTimes:
    """When pairs first met."""

    @pytest.mark.parametrize(
        ("texts", "expected"),
        [
            (["20", "10.5", "-3e1"], [-30, 10.5]),
            (["2020-01-01", "2019-01-01T00:00", "1970-01-02 00:00:01.5"], [86401.5, 1546300800]),
            (["1970-01-02T00:00:00Z", "1970-01-03T00:00:00+02:00", "1970-01-01T00:00:01-00:30"], [1801, 165600]),
            (["1970-01-02", "1970-01-02T00:00:00+02:00", "86399"], [86399, 79200]),
        ],
        ids=["numbers", "without a zone", "with zones", "all sorts"],
    )
    def test_forms_of_times(self, tmp_path: Path, texts: list[str], expected: list[float]) -> None:
        """Times are numbers or ISO 8601; one without a zone is of UTC, and a pair has the earliest of its rows."""
        rows = "".join(f"{row},{time}\n" for row, time in zip(("a,x", "b,y", "a,x"), texts, strict=True))
        path = write(tmp_path / "times.csv", f"user,item,time\n{rows}")
        assert first_met(read_interactions([path])) == expected

    def test_some_files_without(self, tmp_path: Path) -> None:
        """Where one file has no times, no pair has one; a file without rows does not count."""
        timed = write(tmp_path / "timed.csv", "user,item,time\na,x,5\nb,y,3\n")
        empty = write(tmp_path / "empty.csv", "user,item\n")
        untimed = write(tmp_path / "untimed.csv", "user,item\na,x\n")
        assert first_met(read_interactions([timed, empty])) == [5, 3]
        assert read_interactions([timed, untimed]).first_met is None


class TestSeveralFiles:
    """Files and directories, read as one."""

    def test_a_directory(self, tmp_path: Path) -> None:
        """The tables in a directory and below are read, and nothing of what other programs leave there."""
        (tmp_path / "month=1").mkdir()
        (tmp_path / "_temporary").mkdir()
        (tmp_path / "directory.csv").mkdir()
        write(tmp_path / "b.TSV", "user\titem\na\tx\n")
        write(tmp_path / "month=1" / "a.csv", "user,item\nb,y\n")
        for name in ("_SUCCESS", ".a.csv", "notes.md", "_temporary/a.csv", "month=1/_a.csv"):
            write(tmp_path / name, "rubbish")
        assert as_dict(read_interactions([tmp_path])) == {("a", "x"): 1, ("b", "y"): 1}

    def test_weights_in_some(self, tmp_path: Path) -> None:
        """A row of a file without weights weighs 1, whatever other files have."""
        weighed = write(tmp_path / "weighed.csv", "user,item,weight\na,x,5\nb,y,3\n")
        unweighed = write(tmp_path / "unweighed.csv", "item,user\nx,a\nz,c\n")
        assert as_dict(read_interactions([weighed, unweighed])) == {("a", "x"): 6, ("b", "y"): 3, ("c", "z"): 1}

    def test_one_text_among_numbers(self, tmp_path: Path) -> None:
        """A column of ids is numbers or text in all files together."""
        numbers = write(tmp_path / "numbers.csv", "user,item\n1,7\n2,8\n")
        texts = write(tmp_path / "texts.csv", "user,item\nana,7\n")
        assert as_dict(read_interactions([numbers, texts])) == {("1", 7): 1, ("2", 8): 1, ("ana", 7): 1}

    @pytest.mark.parametrize("form", ["csv", "csv.gz", "parquet"])
    def test_progress(self, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The progress callback gets increasing byte counts up to the total."""
        monkeypatch.setattr(tables, "_BATCH_ROWS", 100)
        rows = [(f"user-{row * 7919 % 500}", str(row), 1, row) for row in range(500)]
        paths = [FORMS[form](tmp_path / name, rows) for name in ("a", "b")]
        told: list[tuple[int, int]] = []
        with blocks_of(2**10):
            read_interactions(paths, on_read=lambda read, total: told.append((read, total)))
        total = sum(path.stat().st_size for path in paths)
        assert {entry[1] for entry in told} == {total}
        assert [entry[0] for entry in told] == sorted(entry[0] for entry in told)
        assert told[-1][0] == total
        assert len(told) > 4


class TestNothingToLearn:
    """Data that makes no model."""

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("", "is empty"),
            ("\n\r\n", "is empty"),
            ("user,item\n", "has no interactions"),
            ("user,item", "has no interactions"),
            (
                "user,item\na,x\na,y\n",
                "has interactions of only one user, a; training needs at least two",
            ),
            (
                "user,item\n1,7\n2,7\n",
                "has interactions of only one item, 7; training needs at least two",
            ),
        ],
        ids=["empty", "line breaks", "a header", "a header without line break", "one user", "one item"],
    )
    def test_too_little(self, tmp_path: Path, text: str, complaint: str) -> None:
        """Too little to learn from is said in a sentence that begins with the file."""
        path = write(tmp_path / "little.csv", text)
        with pytest.raises(TrainingError) as caught:
            read_interactions([path])
        assert str(caught.value) == f"{path} {complaint}."

    def test_a_parquet_file_without_rows(self, tmp_path: Path) -> None:
        """So is it of a Parquet file."""
        with pytest.raises(TrainingError, match=r"none has no interactions\.$"):
            read_interactions([parquet(tmp_path / "none", [])])

    def test_bad_rows_alone(self, tmp_path: Path) -> None:
        """Where every row was skipped, the first is said."""
        path = write(tmp_path / "bad.csv", "user,item\na\nb\n")
        with pytest.raises(TrainingError) as caught:
            read_interactions([tmp_path], skip_bad_rows=True)
        assert str(caught.value) == (
            f"{tmp_path} has no valid row ({path}, line 2: there are 1 fields, but the header has 2)."
        )


# ---------------------------------------------------------------- what holds for all tables


def separated(path: Path, rows: Sequence[Row], delimiter: str = ",", line_break: str = "\n") -> Path:
    """Write rows as Python's csv does."""
    with path.open("w", encoding="utf-8", newline="") as file:
        # Up to Python 3.12, csv leaves a line break in an id bare if it is not the one between rows.
        form = csv.writer(
            file,
            delimiter=delimiter,
            lineterminator=line_break,
            # Where tabs separate, quotes are quotes only if the header is in quotes.
            quoting=csv.QUOTE_MINIMAL if line_break == "\r\n" and delimiter != "\t" else csv.QUOTE_NONNUMERIC,
        )
        form.writerows([HEADER, *rows])
    return path


def gzipped(path: Path, rows: Sequence[Row]) -> Path:
    """Write rows as gzipped CSV."""
    separated(path, rows)
    path.write_bytes(gzip.compress(path.read_bytes()))
    return path


def parquet(path: Path, rows: Sequence[Row]) -> Path:
    """Write rows as Parquet, ids that are numbers as numbers."""
    users, items = ([row[place] for row in rows] for place in (0, 1))
    columns = [as_ids(users), as_ids(items), [row[2] for row in rows], [row[3] for row in rows]]
    kinds = [pa.int64() if ids and isinstance(ids[0], int) else pa.string() for ids in columns[:2]]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, [*kinds, pa.int32(), pa.int64()], strict=True)]
    pq.write_table(pa.Table.from_arrays(arrays, HEADER), path)
    return path


FORMS: dict[str, Callable[[Path, Sequence[Row]], Path]] = {
    "csv": separated,
    "tsv": lambda path, rows: separated(path, rows, "\t", "\r\n"),
    "semicolons": lambda path, rows: separated(path, rows, ";", "\r"),
    "csv.gz": gzipped,
    "parquet": parquet,
}


def as_ids(texts: Sequence[Any]) -> Sequence[Any]:
    """Return ids as numbers, where all are written as numbers are and fit into int64."""
    numbers = [int(text) for text in texts if re.fullmatch(r"0|-?[1-9][0-9]{0,18}", text)]
    fit = len(numbers) == len(texts) and all(-(2**63) <= number < 2**63 for number in numbers)
    return numbers if fit else texts


def expected_of(rows: Sequence[Row]) -> tuple[Pairs, dict[tuple[object, object], float]]:
    """Return {pair: summed weight} and {pair: first time}."""
    pairs: Pairs = defaultdict(float)
    times: Pairs = defaultdict(lambda: float("inf"))
    users, items = (as_ids([row[place] for row in rows]) for place in (0, 1))
    for user, item, (_, _, weight, time) in zip(users, items, rows, strict=True):
        pairs[user, item] += weight
        times[user, item] = min(times[user, item], time)
    return pairs, times


NUMBERS = st.one_of(st.integers(-3, 12), st.integers(-(2**64), 2**64)).map(str)
TEXTS = st.one_of(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20),
                  st.text("01a,;\t\n\r\"' é😀", min_size=1, max_size=9), NUMBERS).filter(
    lambda text: text == text.strip(" \t\u00a0\u200b\ufeff") and text not in MISSING
    and not re.search(r"\.0+$|^:?-+:?$", text)
)  # fmt: skip


def rows_of(users: st.SearchStrategy[str], items: st.SearchStrategy[str]) -> st.SearchStrategy[list[Row]]:
    """Return lists of rows, with at least two users and two items."""
    row = st.tuples(users, items, st.integers(1, 9), st.integers(-9, 2**40))
    return st.lists(row, min_size=2, max_size=40).filter(
        lambda rows: min(len({r[0] for r in rows}), len({r[1] for r in rows})) > 1
    )


TABLES = st.one_of(rows_of(NUMBERS, NUMBERS), rows_of(NUMBERS, TEXTS), rows_of(TEXTS, TEXTS))


@pytest.mark.parametrize("form", FORMS)
@given(rows=TABLES)
def test_what_was_written_is_read(form: str, rows: list[Row]) -> None:
    """In every form, in whatever order rows come and repeat, no weight is lost and every id comes back."""
    pairs, times = expected_of(rows)
    with tempfile.TemporaryDirectory() as directory, blocks_of(2**10):
        read = read_interactions([FORMS[form](Path(directory, "table"), rows)])
    assert as_dict(read) == pairs
    assert dict(zip(as_dict(read), first_met(read), strict=True)) == times
    assert read.weights.has_canonical_format
    assert read.rows == len(rows)


@given(rows=TABLES, cut=st.integers(0, 40), forms=st.tuples(st.sampled_from(list(FORMS)), st.sampled_from(list(FORMS))))
def test_several_files_are_one(rows: list[Row], cut: int, forms: tuple[str, str]) -> None:
    """However rows are spread over files, and in whatever forms, they are the rows of one table."""
    with tempfile.TemporaryDirectory() as directory:
        paths = [
            FORMS[form](Path(directory, name), part)
            for form, name, part in zip(forms, "ab", (rows[:cut], rows[cut:]), strict=True)
        ]
        read = read_interactions(paths)
    assert as_dict(read) == expected_of(rows)[0]
