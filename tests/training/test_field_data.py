"""Files of interactions as people have them: public data sets, exports of databases, directories of Spark."""

from __future__ import annotations

import bz2
import datetime
import decimal
import gzip
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.errors import TrainingError
from service.training.account import Account
from service.training.columns import ColumnNames
from service.training.counting import Counting
from service.training.data_files import files_of
from service.training.interactions import Interactions, read_interactions
from service.training.layout import Layout, layout_of
from tests.support.interactions import Pairs, as_dict, blocks_of, first_met, write

SHA = "00000c289a1829a808ac09c00daf10bc3c4e223b"
SERVER = "of a server: ALS_TRAINING_"


def read(path: Path, layout: Layout = Layout(), *, skip: bool = False) -> Interactions:
    """Read one path."""
    return read_interactions([path], layout, skip_bad_rows=skip)


def complaint_of(path: Path, layout: Layout = Layout()) -> str:
    """Return the sentence that says why a path is not read."""
    with pytest.raises(TrainingError) as caught:
        read(path, layout)
    return str(caught.value)


class TestPublicDataSets:
    """The shapes of well-known data sets."""

    @pytest.mark.parametrize(
        ("name", "text", "weight"),
        [
            ("u.data", "196\t242\t3\t881250949\n186\t302\t3\t891717742\n", 3),
            ("ratings.dat", "1::1193::5::978300760\n2::661::5::978302109\n", 5),
            ("ratings.dat", "1::122::3.5::838985046\r\n2::185::3.5::838983525", 3.5),
            (
                "ratings.csv",
                "userId,movieId,rating,timestamp\n1,2,3.5,1112486027\n1,29,3.5,1112484676\n2,3,3.5,1\n",
                3.5,
            ),
        ],
        ids=["100K", "1M", "10M", "20M"],
    )
    def test_movielens(self, tmp_path: Path, name: str, text: str, weight: float) -> None:
        """MovieLens is read as it is: no row is taken for a header, and times are times."""
        found = read(write(tmp_path / name, text))
        assert found.rows == len(text.splitlines()) - ("userId" in text)
        assert set(as_dict(found).values()) == {weight}
        assert found.first_met is not None
        assert [ids.dtype.kind for ids in (found.user_ids, found.item_ids)] == ["i", "i"]

    @pytest.mark.parametrize(
        ("columns", "text", "expected"),
        [
            ("user,-,item,plays", f'{SHA}\t\t"weird al" yankovic\t5\n{SHA[::-1]}\tm1\t"Heroes\t7\na\tm2\tthe who"\t1\n',
             {(SHA, '"weird al" yankovic'): 5, (SHA[::-1], '"Heroes'): 7, ("a", 'the who"'): 1}),
            ("user,item,rating,time", "AKM1MP6P0OYPR,0132793040,5.0,1365811200\nA2CX7,0321732944,4.0,1341100800\n",
             {("AKM1MP6P0OYPR", "0132793040"): 5, ("A2CX7", "0321732944"): 4}),
            ("item,user,rating,time", "0321732944,A1,5.0,1365811200\nB00007,A2,4.0,1341100800\n",
             {("A1", "0321732944"): 5, ("A2", "B00007"): 4}),
            ("user,time,item,-", "1,2014-04-07T10:51:09.277Z,214536502,0\n2,2014-04-07T10:54:09.868Z,214536500,S\n",
             {(1, 214536502): 1, (2, 214536500): 1}),
            ("user,time,-,-,item", "0\t2010-10-19T23:55:27Z\t30\t-97\t22847\n1\t2010-10-18T22:17:43Z\t3\t4\t420315\n",
             {(0, 22847): 1, (1, 420315): 1}),
            ("user,item,rating", "1 1 2\n2 3 4\n", {(1, 1): 2, (2, 3): 4}),
            ("user,item,rating", "1|10|2\n2|30|4\n", {(1, 10): 2, (2, 30): 4}),
        ],
        ids=["Last.fm 360K", "Amazon 2014", "Amazon 2018", "Yoochoose", "Gowalla", "blanks", "pipes"],
    )  # fmt: skip
    def test_columns_are_named_where_there_is_no_header(
        self, tmp_path: Path, columns: str, text: str, expected: Pairs
    ) -> None:
        """With the columns in their order every row is read, the first too."""
        assert as_dict(read(write(tmp_path / "data", text), layout_of(columns))) == expected

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("timestamp,visitorid,event,itemid,transactionid\n1433221332117,257597,view,355908,\n"
             "1433224214164,992329,view,248676,\n", {(257597, 355908): 1, (992329, 248676): 1}),
            ("event_time,event_type,product_id,price,user_id,user_session\n"
             "2019-10-01 00:00:00 UTC,view,44600062,35.79,541312140,72d7\n"
             "2019-10-01 00:00:01.25 UTC,view,3900821,33.2,554748717,9333\n",
             {(541312140, 44600062): 1, (554748717, 3900821): 1}),
        ],
        ids=["RetailRocket", "REES46"],
    )  # fmt: skip
    def test_those_with_a_header(self, tmp_path: Path, text: str, expected: Pairs) -> None:
        """Their columns are found, and their times are read."""
        found = read(write(tmp_path / "events.csv", text))
        assert as_dict(found) == expected
        assert found.first_met is not None

    def test_times_of_bigquery(self, tmp_path: Path) -> None:
        """A zone in letters is UTC; slashes in a date are dashes."""
        rows = "user,item,time\na,x,1970-01-01 00:00:01 UTC\nb,y,1970-01-01 00:00:02.5 UTC\n"
        assert first_met(read(write(tmp_path / "a.csv", rows))) == [1, 2.5]
        rows = "user,item,time\na,x,1970/01/02\nb,y,1970/01/01 00:00:02 GMT\n"
        assert first_met(read(write(tmp_path / "b.csv", rows))) == [86400, 2]

    @pytest.mark.parametrize(
        ("texts", "seconds"),
        [
            (["1/2/1970 0:01", "1/13/1970 0:00"], [86460, 1036800]),
            (["02/01/1970", "13/01/1970"], [86400, 1036800]),
            (["02.01.1970 00:01", "01.01.1970 00:00"], [86460, 0]),
            (["1/1/1970 1:00 PM", "1/13/1970 12:00 AM"], [46800, 1036800]),
            (["01/Jan/1970:00:00:05 -0100", "01/Jan/1970:00:00:05 +0000"], [3605, 5]),
            (["Thu, 01 Jan 1970 00:00:07 GMT", "Thu, 01 Jan 1970 00:00:09 GMT"], [7, 9]),
            (["Thu Jan  1 00:00:07 1970", "Thu Jan  1 00:00:09 1970"], [7, 9]),
            (["Thu Jan 01 00:00:07 +0000 1970", "Thu Jan 01 01:00:09 +0100 1970"], [7, 9]),
            (["02-JAN-1970", "01-JAN-1970"], [86400, 0]),
            (["13-01-1970 00:01", "02-01-1970 00:00"], [1036860, 86400]),
            (["Jan 2, 1970", "Jan 1, 1970"], [86400, 0]),
        ],
        ids=[
            "US",
            "day first",
            "German",
            "12 hours",
            "logs",
            "mail",
            "ctime",
            "Foursquare",
            "Oracle",
            "dashes",
            "US words",
        ],
    )
    def test_times_of_people_and_logs(self, tmp_path: Path, texts: list[str], seconds: list[float]) -> None:
        """Common forms are read if all rows have the same."""
        path = write(tmp_path / "a.tsv", f"user\titem\ttime\na\tx\t{texts[0]}\nb\ty\t{texts[1]}\n")
        assert first_met(read(path)) == seconds

    def test_a_day_that_could_be_a_month(self, tmp_path: Path) -> None:
        """Times that can be read in two ways are not used."""
        found = read(write(tmp_path / "a.csv", "user,item,time\na,x,01/02/2020\nb,y,03/04/2020\n"))
        assert (found.first_met, found.rows) == (None, 2)
        assert "line 2: the time is '01/02/2020'" in found.account.sentences()[0]

    def test_online_retail(self, tmp_path: Path) -> None:
        """A file in latin-1 is read with its encoding; without, the line and the remedy are named."""
        path = tmp_path / "retail.csv"
        text = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,CustomerID\n" + (
            "1,85123A,LAMP,6,12/1/2010 8:26,17850\n2,71053,£5 MUG,2,12/1/2010 8:26,17850.0\n3,71053,,1,,13047\n"
        )
        path.write_bytes(text.encode("latin-1"))
        assert complaint_of(path) == (
            f"{path}, line 3: the byte 0xa3 is not UTF-8; save the file as UTF-8, or name its encoding, as in "
            f"--encoding latin-1 ({SERVER}ENCODING=latin-1)."
        )
        found = read(path, layout_of(encoding="latin-1"))
        assert as_dict(found) == {(17850, "85123A"): 6, (17850, "71053"): 2, (13047, "71053"): 1}
        assert found.first_met is None
        path.write_bytes(text.replace("71053,,1,,", "71053,,1,12/13/2010 8:26,").encode("latin-1"))
        assert read(path, layout_of(encoding="latin-1")).first_met is not None

    @pytest.mark.parametrize("size", [45, 2**24])
    @pytest.mark.parametrize("form", ["{0}  {1}   {2}", "   {0} {1:>9} {2:>4}", "{0} {1} {2}  ", " {0}  {1} {2} \r"])
    def test_runs_of_blanks(self, tmp_path: Path, form: str, size: int) -> None:
        """Numbers that are aligned by blanks are fields like others, and a bad row has its line."""
        lines = [form.format(user, user * 7, user % 5 + 1) for user in range(1, 60)]
        path = write(tmp_path / "data.txt", "\n".join(lines) + "\n")
        with blocks_of(size):
            found = read(path, layout_of("user,item,rating"))
            assert as_dict(found) == {(user, user * 7): user % 5 + 1 for user in range(1, 60)}
            write(path, "\n".join([*lines[:30], "31  217", *lines[31:]]))
            assert complaint_of(path, layout_of("user,item,rating")).startswith(f"{path}, line 31: there are 2 fields")

    def test_lightgcn(self, tmp_path: Path) -> None:
        """A line has a user and all of the user's items; a user without any is counted."""
        path = write(tmp_path / "train.txt", "0 5 7\n1 5\n2 \n3 7 8 9")
        found = read(path)
        assert as_dict(found) == {(0, 5): 1, (0, 7): 1, (1, 5): 1, (3, 7): 1, (3, 8): 1, (3, 9): 1}
        assert found.account.left_out == {"a user without items": 1}
        assert found.account.first == f"{path}, line 3: there are no items"
        assert read(path, layout_of(no_header=True)).rows == found.rows
        same_length = write(tmp_path / "same.txt", "ann,5,7\nben,5,8\n")
        assert as_dict(read(same_length, layout_of("user,items"))).keys() == {
            ("ann", 5), ("ann", 7), ("ben", 5), ("ben", 8),
        }  # fmt: skip

    def test_lightgcn_in_many_blocks(self, tmp_path: Path) -> None:
        """Lines are cut nowhere, and a bad one is named."""
        lines = [f"{user} {' '.join(str(item) for item in range(user % 7 + 1))}" for user in range(500)]
        path = write(tmp_path / "train.txt", "\n".join(lines))
        with blocks_of(100):
            assert read(path).rows == sum(user % 7 + 1 for user in range(500))
            write(path, "\n".join([*lines[:300], "300 NULL", *lines[301:]]))
            assert complaint_of(path).startswith(f"{path}, line 301: the item is missing")


class TestComments:
    """Lines that begin with # or % before the first row."""

    @pytest.mark.parametrize(
        ("text", "columns", "expected"),
        [
            ("# Directed graph: soc-Epinions1\n# Nodes: 3 Edges: 2\n# FromNodeId\tToNodeId\n0\t4\n1\t#5\n", "user,item",
             {(0, "4"): 1, (1, "#5"): 1}),
            ("% bip posweighted\n% 2 2 2\n1 4 5 1234567890\n2 3 3 1234567891\n", "user,item,rating,time",
             {(1, 4): 5, (2, 3): 3}),
            ("# made on Monday, by \"us\nuser,item\na,x\n#b,y\n", None, {("a", "x"): 1, ("#b", "y"): 1}),
            ("\ufeffsep=;\r\n# made; by us\r\nuser;item\r\na;x\r\nb;y\r\n", None, {("a", "x"): 1, ("b", "y"): 1}),
            ("# old\ruser,item\ra,x\rb,y\r", None, {("a", "x"): 1, ("b", "y"): 1}),
            ("# made by us\n#user_id\titem_id\nann\tx\nben\ty\n", None, {("ann", "x"): 1, ("ben", "y"): 1}),
            ("# 0 1\n0 5 7\n1 5\n", None, {(0, 5): 1, (0, 7): 1, (1, 5): 1}),
        ],
        ids=["SNAP", "KONECT", "a header", "a spreadsheet", "old line breaks", "a header as a comment", "LightGCN"],
    )  # fmt: skip
    @pytest.mark.parametrize("size", [40, 2**24])
    def test_they_are_counted_and_not_read(
        self, tmp_path: Path, text: str, columns: str | None, expected: Pairs, size: int
    ) -> None:
        """They come before the header, or have it; what begins like one later is a row."""
        with blocks_of(size):
            found = read(write(tmp_path / "data.txt", text), layout_of(columns))
        assert as_dict(found) == expected
        (sentence,) = [each for each in found.account.sentences() if "comments" in each]
        lines = sum(line.startswith(("#", "%")) for line in text.splitlines()[:3])
        assert sentence == f"lines of comments at the beginning of files, which were not read: {lines}"

    @pytest.mark.parametrize("size", [40, 2**24])
    def test_a_bad_row_after_them(self, tmp_path: Path, size: int) -> None:
        """It has its line in the file."""
        path = write(tmp_path / "data.csv", "# one\n% two, with a comma\nuser,item\na,x\nb\nc,z\n")
        with blocks_of(size):
            assert complaint_of(path).startswith(f"{path}, line 5: there are 1 fields, but the header has 2")

    def test_what_has_the_wrong_names(self, tmp_path: Path) -> None:
        """A comment is not a header only because it is the last, and the remedy is the same as without one."""
        path = write(tmp_path / "data.txt", "# FromNodeId\tToNodeId\n0\t4\n1\t5\n")
        assert "as in --columns user,item" in complaint_of(path)

    def test_a_file_of_comments(self, tmp_path: Path) -> None:
        """It is empty."""
        path = write(tmp_path / "data.txt", "# nothing\n# here\n")
        assert complaint_of(path) == f"{path} is empty."


class TestNoHeader:
    """What is said where the first line has no names."""

    @pytest.mark.parametrize(
        ("text", "example"),
        [
            ("A1,B1,5.0,1365811200\nA2,B2,4.0,1365811200\n", "user,item,rating,time"),
            ("a b 7\nc d 9\n", "user,item,rating"),
            ("1,2014-04-07T10:51:09.277Z,2,0,x,y\n", "user,item,rating,time,-,-"),
        ],
    )
    def test_the_remedy_is_named(self, tmp_path: Path, text: str, example: str) -> None:
        """Naming the columns is proposed, as many as there are, for the command and for a server."""
        complaint = complaint_of(write(tmp_path / "data.csv", text))
        assert f"as in --columns {example} ({SERVER}COLUMNS={example})" in complaint
        assert "has no names of columns" in complaint

    @pytest.mark.parametrize(
        ("text", "pairs", "timed"),
        [
            ("1,7\n2,8\n", {(1, 7): 1, (2, 8): 1}, False),
            ("1,7,3\n2,8,4\n", {(1, 7): 3, (2, 8): 4}, False),
            ("1,7,1365811200\n2,8,1365811201\n", {(1, 7): 1, (2, 8): 1}, True),
            ("1,7,3,1365811200\n2,8,4,1365811201\n", {(1, 7): 3, (2, 8): 4}, True),
        ],
    )
    def test_the_usual_order(self, tmp_path: Path, text: str, pairs: Pairs, *, timed: bool) -> None:
        """--no-header alone takes users, items, ratings and times, as far as there are any."""
        found = read(write(tmp_path / "data.csv", text), layout_of(no_header=True))
        assert as_dict(found) == pairs
        assert (found.first_met is not None) is timed

    def test_a_header_all_the_same(self, tmp_path: Path) -> None:
        """A header is not learned from as a row."""
        path = write(tmp_path / "data.csv", "userId,movieId,rating\n1,7,3\n2,8,4\n")
        assert "the first row is a header (userId, movieId, rating)" in complaint_of(
            path, layout_of("user,item,rating")
        )

    def test_another_number_of_columns(self, tmp_path: Path) -> None:
        """Every column is to be named."""
        path = write(tmp_path / "data.csv", "1,7,3\n2,8,4\n")
        assert "the first row has 3 fields, and 2 columns are named" in complaint_of(path, layout_of("user,item"))

    @pytest.mark.parametrize("row", ["3,9,5,7", "3"])
    @pytest.mark.parametrize("size", [40, 2**24])
    def test_a_bad_row(self, tmp_path: Path, row: str, size: int) -> None:
        """Its line is named as in a file with a header."""
        path = write(tmp_path / "data.csv", f"1,7,3\n2,8,4\n{row}\n" + "4,9,1\n" * 20)
        with blocks_of(size):
            assert complaint_of(path, layout_of("user,item,rating")).startswith(f"{path}, line 3: there are ")

    def test_a_bad_first_row(self, tmp_path: Path) -> None:
        """So is the first."""
        path = write(tmp_path / "data.csv", "1,7,no\n2,8,4\n")
        assert complaint_of(path, layout_of("user,item,rating")).startswith(f"{path}, line 1: the weight is 'no'")


class TestLayout:
    """Flags and settings."""

    def test_columns_of_a_header(self, tmp_path: Path) -> None:
        """The same setting names the columns of a header, and leaves one out."""
        path = write(tmp_path / "data.csv", "who,what,rating\n1,7,much\n2,8,\n")
        assert as_dict(read(path, layout_of("user=who, item=what, weight="))) == {(1, 7): 1, (2, 8): 1}
        named = layout_of("item=what,rating=", names=ColumnNames(user="who"))
        assert as_dict(read(path, named)) == {(1, 7): 1, (2, 8): 1}

    @pytest.mark.parametrize("delimiter", ["\t", "^", "||", "\x01"])
    def test_any_delimiter(self, tmp_path: Path, delimiter: str) -> None:
        """A delimiter that is not detected can be given, even one of several characters cut by a block."""
        rows = [("user", "item"), *((f"u{number}", str(number)) for number in range(200))]
        path = write(tmp_path / "data", "".join(f"{delimiter.join(row)}\n" for row in rows))
        with blocks_of(61):
            found = read(path, layout_of(delimiter=delimiter.replace("\t", "\\t").replace("\x01", "\\x01")))
        assert as_dict(found) == {(f"u{number}", number): 1 for number in range(200)}

    @pytest.mark.parametrize(
        ("given", "complaint"),
        [
            ({"delimiter": "\n"},
             r"The delimiter is '\n'; it must be ASCII characters other than quotes and line breaks."),
            *(({"encoding": name},
               f"The encoding is '{name}', which is unknown; examples are utf-8, latin-1, cp1252 and utf-16.")
              for name in ("klingon", "base64")),
            ({"columns": "user=a,price=b"},
             "The columns name 'price'; only user, item, weight and time have a column."),
        ],
    )  # fmt: skip
    def test_what_cannot_be(self, given: dict[str, Any], complaint: str) -> None:
        """A layout that makes no sense is refused before anything is read."""
        with pytest.raises(TrainingError) as caught:
            layout_of(**given)
        assert str(caught.value) == complaint

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "cp1252", "latin-1", "shift-jis", "utf-8-sig"])
    @pytest.mark.parametrize("size", [100, 2**24])
    def test_encodings(self, tmp_path: Path, encoding: str, size: int) -> None:
        """Text of any encoding is read, block by block, once it is named."""
        letters = {"cp1252": "€é", "latin-1": "é£", "shift-jis": "日本"}.get(encoding, "é日😀")
        rows = [(f"{letters}{number}", str(number)) for number in range(50)]
        path = tmp_path / "data.csv"
        path.write_bytes("\r\n".join(["user,item", *(",".join(row) for row in rows)]).encode(encoding))
        with blocks_of(size):
            assert as_dict(read(path, layout_of(encoding=encoding))) == {(user, int(item)): 1 for user, item in rows}

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
    def test_unicode_with_its_mark(self, tmp_path: Path, encoding: str) -> None:
        """What a spreadsheet calls Unicode text is recognized."""
        path = tmp_path / "data.txt"
        path.write_bytes("user\titem\r\né\tx\r\nb\ty\r\n".encode(encoding))
        assert as_dict(read(path)) == {("é", "x"): 1, ("b", "y"): 1}

    def test_the_delimiter_that_a_spreadsheet_names(self, tmp_path: Path) -> None:
        """A first line sep=; is not a header."""
        path = write(tmp_path / "data.csv", "\ufeffsep=;\r\nuser;item\r\na,b;x\r\nc;y\r\n")
        assert as_dict(read(path)) == {("a,b", "x"): 1, ("c", "y"): 1}
        write(path, "sep=;\nuser;item\na;x\nb\n")
        assert complaint_of(path).startswith(f"{path}, line 4: ")


class TestIds:
    """One rule for ids, however they are written."""

    @pytest.mark.parametrize(
        "marker",
        ["NULL", "\\N", "nan", "NaN", "None", "null", "<NA>", "N/A", "", "   ", "-", "-----", ":---:", "#NULL!",
         "#DIV/0!", "1.#QNAN", "\u00a0", "\ufeffNULL"],
    )  # fmt: skip
    @pytest.mark.parametrize("parquet", [False, True], ids=["text", "Parquet"])
    def test_markers_are_missing(self, tmp_path: Path, marker: str, *, parquet: bool) -> None:
        """They are bad rows that are named and counted, and the other ids stay numbers."""
        users = ["1", "2", marker, "3"]
        if parquet:
            pq.write_table(pa.table({"user": users, "item": ["7", "8", "9", "9"]}), tmp_path / "data")
        else:
            rows = [f"{user},{item}" for user, item in zip(users, "7899", strict=True)]
            write(tmp_path / "data", "\n".join(["user,item", *rows]))
        assert ": the user is missing; an id is" in complaint_of(tmp_path / "data")
        found = read(tmp_path / "data", skip=True)
        assert as_dict(found) == {(1, 7): 1, (2, 8): 1, (3, 9): 1}
        assert found.account.left_out == {"no user": 1}

    @pytest.mark.parametrize(
        "values",
        [
            ["17.0", "4", "17"],
            ["17.000", " 4", "17 "],
            pa.array([17.0, 4.0, 17.0]),
            pa.array([17.0, 4.0, 17.0], pa.float32()),
            pa.array([decimal.Decimal(value) for value in (17, 4, 17)], pa.decimal128(38, 0)),
            pa.array([decimal.Decimal(value) for value in ("17.00", "4.00", "17.00")], pa.decimal128(38, 2)),
            pa.array([b"17", b"4", b"17"]),
            pa.array([b"17", b"4 ", b"17"], pa.binary(2)),
            pa.array([b"17", b"4", b"17"], pa.large_binary()),
            pa.array([17, 4, 17], pa.uint8()),
            pa.array(["17", "4.0", "17.0"]).dictionary_encode(),
        ],
        ids=str,
    )
    def test_whole_numbers_are_numbers(self, tmp_path: Path, values: Any) -> None:
        """However a whole number is written it is the same id, in Parquet and in text."""
        as_text = write(tmp_path / "text.csv", "user,item\n17,1\n")
        path = tmp_path / "data.parquet"
        pq.write_table(pa.table({"user": values, "item": [1, 2, 2]}), path)
        expected = {(17, 1): 1, (4, 2): 1, (17, 2): 1}
        assert as_dict(read(path)) == expected
        both = read_interactions([path, as_text])
        assert as_dict(both) == {**expected, (17, 1): 2}

    def test_other_types(self, tmp_path: Path) -> None:
        """A UUID is its text, bytes are text, a float that is not whole is its text; NaN and infinity are missing."""
        ids = [uuid.UUID(int=number) for number in (2**100, 2**120)]
        path = tmp_path / "data.parquet"
        expected = {(str(ids[0]), 1): 1, (str(ids[1]), 2): 1}
        for kind in (pa.uuid(), pa.binary(16)):
            pq.write_table(pa.table({"user": pa.array([one.bytes for one in ids], kind), "item": [1, 2]}), path)
            assert as_dict(read(path)) == expected
        pq.write_table(pa.table({"user": pa.array([b"u1", b"u2"], pa.binary(2)), "item": [1, 2]}), path)
        assert as_dict(read(path)) == {("u1", 1): 1, ("u2", 2): 1}
        pq.write_table(pa.table({"user": [1.5, 2.0, float("nan"), float("inf")], "item": [1, 2, 3, 4]}), path)
        assert as_dict(read(path, skip=True)) == {("1.5", 1): 1, ("2", 2): 1}
        pq.write_table(pa.table({"user": pa.nulls(2), "item": [1, 2]}), path)
        assert complaint_of(path).startswith(f"{path}, row 1: the user is missing")

    @pytest.mark.parametrize("size", [40, 2**24])
    def test_a_repeated_header(self, tmp_path: Path, size: int) -> None:
        """It is a bad row, and ids stay numbers."""
        half = " user_id,item_id\n1,7\n2,8\n3,9\n"
        path = write(tmp_path / "data.csv", half * 2)
        with blocks_of(size):
            assert complaint_of(path).startswith(f"{path}, line 5: the header is repeated; fix it, or skip bad rows")
            found = read(path, skip=True)
        assert as_dict(found) == {(1, 7): 2, (2, 8): 2, (3, 9): 2}
        assert found.account.left_out == {"the header again": 1}

    @pytest.mark.parametrize(
        "again", ["USER_ID,Item_Id", "\ufeffuser_id,item_id", " user_id ,item_id", '"user_id","item_id"']
    )
    def test_a_header_that_is_repeated_otherwise(self, tmp_path: Path, again: str) -> None:
        """In capitals, or with a byte order mark, as where files are put together."""
        found = read(write(tmp_path / "data.csv", f"user_id,item_id\n1,7\n{again}\n2,8\n"), skip=True)
        assert as_dict(found) == {(1, 7): 1, (2, 8): 1}
        assert found.account.left_out == {"the header again": 1}

    @pytest.mark.parametrize("blank", ["\u00a0", "\u200b", "\ufeff", "\t"])
    def test_what_cannot_be_seen(self, tmp_path: Path, blank: str) -> None:
        """It does not belong to an id either; within one it does."""
        found = read(write(tmp_path / "data.csv", f"user,item\n{blank}1,7{blank}\n2,a{blank}b\n"))
        assert as_dict(found) == {(1, "7"): 1, (2, f"a{blank}b"): 1}

    def test_blanks(self, tmp_path: Path) -> None:
        """Blanks around an id do not belong to it, as in the header."""
        path = write(tmp_path / "data.csv", "user, item, rating\n1, 101, 2\n2 ,\t102 , 3\n")
        assert as_dict(read(path)) == {(1, 101): 2, (2, 102): 3}

    @pytest.mark.parametrize("size", [40, 2**24])
    def test_the_first_that_is_not_a_number(self, tmp_path: Path, size: int) -> None:
        """Where most ids are numbers, the first that makes them text is named with its line."""
        path = write(tmp_path / "data.csv", "user,item\n1,7\n2,8\n3,x9\n4,9\n5,9\n,\n")
        with blocks_of(size):
            found = read(path, skip=True)
        assert found.account.sentences() == [
            f"1 of 4 item ids are not whole numbers, so all are text; the first is 'x9' in {path}, line 4"
        ]

    def test_bad_rows_leave_no_ids(self, tmp_path: Path) -> None:
        """An id of which every row is bad is not one of the ids."""
        found = read(write(tmp_path / "data.csv", "user,item\n1,7\n2,8\n,new\nold,\n"), skip=True)
        assert (found.user_ids.tolist(), found.item_ids.tolist()) == ([1, 2], [7, 8])


class TestTimes:
    """Times that cannot be read cost the order of times, and nothing else."""

    @pytest.mark.parametrize(
        "time", ["noon", "", "NULL", "2020-02-30", "01/02/2020", "10/Oct/2000:13:55:36 -0700", "12:30", "inf", "1 PM"]
    )
    @pytest.mark.parametrize("first", [True, False])
    def test_one_that_is_not_read(self, tmp_path: Path, time: str, *, first: bool) -> None:
        """Every row is learned from, and one sentence says where the first such time is."""
        rows = [f"{number},{number},1970-01-01T00:00:0{number}" for number in range(1, 5)]
        rows[0 if first else 2] = f"9,9,{time}"
        path = write(tmp_path / "data.csv", "\n".join(["user,item,time", *rows]))
        found = read(path)
        assert (found.rows, found.first_met, found.account.count) == (4, None, 0)
        (sentence,) = found.account.sentences()
        shown = repr(time[:20]) + "…" * (len(time) > 20) if time else "missing"
        assert sentence == (
            f"{path}, line {2 if first else 4}: the time is {shown}, and only numbers and dates of ISO 8601 are read; "
            "the order of times is not used"
        )

    def test_two_columns_that_could_be(self, tmp_path: Path) -> None:
        """None is taken."""
        found = read(write(tmp_path / "data.csv", "user,item,date,timestamp\na,x,2020-01-01,1\nb,y,2020-01-01,2\n"))
        assert found.first_met is None
        assert found.account.sentences() == [
            "the header has date and timestamp; name the right one with --time-column (of a server: "
            "ALS_TRAINING_COLUMNS); the order of times is not used"
        ]

    @pytest.mark.parametrize("times", [[[1], [2]], pa.array([1, 2], pa.time32("s")), pa.nulls(2)], ids=str)
    def test_other_types_of_parquet(self, tmp_path: Path, times: Any) -> None:
        """A column that cannot be times is not taken."""
        pq.write_table(pa.table({"user": ["a", "b"], "item": ["x", "y"], "time": times}), tmp_path / "data")
        found = read(tmp_path / "data")
        assert (found.rows, found.first_met) == (2, None)
        assert found.account.sentences()[0].endswith("the order of times is not used")

    def test_of_a_bad_row(self, tmp_path: Path) -> None:
        """The time of a row that is left out does not matter."""
        found = read(write(tmp_path / "data.csv", "user,item,time\na,x,5\n,y,noon\nb,y,7\n"), skip=True)
        assert first_met(found) == [5, 7]

    def test_a_half_life_needs_them(self, tmp_path: Path) -> None:
        """Where times count, the one that is not read is named."""
        path = write(tmp_path / "data.csv", "user,item,time\na,x,noon\nb,y,1\n")
        with pytest.raises(
            TrainingError, match=r"^A half-life needs the times of all rows: .*line 2: the time is 'noon'"
        ):
            read_interactions([path], counting=Counting(half_life=1))

    def test_timestamps_of_parquet(self, tmp_path: Path) -> None:
        """Timestamps are times."""
        moments = [
            datetime.datetime(1970, 1, 2, tzinfo=datetime.UTC),
            datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC),
        ]
        pq.write_table(pa.table({"user": ["a", "b"], "item": ["x", "y"], "time": moments}), tmp_path / "data")
        assert first_met(read(tmp_path / "data")) == [86400, 0]


class TestQuotes:
    """No row vanishes into a quoted field."""

    def test_quotes_are_letters_where_tabs_separate(self, tmp_path: Path) -> None:
        """A field that begins with a quote ends at the next tab."""
        rows = [f"u{number}\t{number}" for number in range(40)]
        rows[10], rows[25] = 'u10\t"ten', 'u25\ttwenty-five"'
        found = read(write(tmp_path / "data.tsv", "\n".join(["user\titem", *rows])))
        assert found.rows == len(found.user_ids) == 40
        assert {'"ten', 'twenty-five"'} <= set(found.item_ids.tolist())

    @pytest.mark.parametrize("size", [100, 2**24])
    @pytest.mark.parametrize("last", [3, 4, 15])
    def test_rows_within_a_quoted_field_are_named(self, tmp_path: Path, size: int, last: int) -> None:
        """Where commas separate, a quote that is not closed takes the next rows, up to the next quote."""
        rows = [f"u{number},{number % 7},note" for number in range(2, 40)]
        rows[0], rows[last - 2] = 'u2,"2,note', f'u{last},{last}",note'
        path = write(tmp_path / "data.csv", "\n".join(["user,item,title", *rows]))
        with blocks_of(max(size, 40 * last)):
            assert complaint_of(path) == (
                f"{path}, line 2: the row that begins here ends {last - 2} lines on, and all of these look like rows; "
                "is a closing quote missing?; fix it, or skip bad rows with --skip-bad-rows."
            )
            found = read(path, skip=True)
        assert found.account.left_out["within a quoted field"] == last - 2
        assert found.rows + found.account.count >= 38

    def test_long_texts_are_not_rows(self, tmp_path: Path) -> None:
        """Texts of several lines, with delimiters in them, are read as they are."""
        rows = [f'u{number},{number},"Great, really.\n\nBuy, it,\nnow"' for number in range(40)]
        found = read(write(tmp_path / "data.csv", "\n\n".join(["user,item,review", *rows])))
        assert (found.rows, found.account.count) == (40, 0)

    def test_unless_the_header_is_in_quotes(self, tmp_path: Path) -> None:
        """R writes such files."""
        path = write(tmp_path / "data.tsv", '"user"\t"item"\n"a"\t"x\ty"\n"b"\t"z"\n')
        assert as_dict(read(path)) == {("a", "x\ty"): 1, ("b", "z"): 1}


class TestContainers:
    """Files in other files, and files that are something else."""

    @pytest.mark.parametrize("form", ["gzip", "gzip and zeros", "zstd", "bz2", "lz4"])
    def test_compressed_files_are_read(self, tmp_path: Path, form: str) -> None:
        """They are recognized by their content, and a bad row has its line."""
        text = b"user,item\na,x\nb,y\n"
        path = tmp_path / "data.csv"

        def packed(content: bytes) -> bytes:
            if form.startswith("gzip"):
                return gzip.compress(content, mtime=0) + bytes(512) * form.endswith("zeros")
            return bz2.compress(content) if form == "bz2" else pa.compress(content, form, asbytes=True)

        if form in {"zstd", "lz4"}:
            with pa.CompressedOutputStream(str(path), form) as file:
                file.write(text)
        else:
            path.write_bytes(packed(text))
        assert as_dict(read(path)) == {("a", "x"): 1, ("b", "y"): 1}

    @pytest.mark.parametrize(
        ("content", "what"),
        [
            (b"PK\x03\x04" + bytes(26) + b"ratings.csv", "is a zip archive: unpack it first"),
            (b"PK\x03\x04" + bytes(26) + b"[Content_Types].xml", "is an Excel workbook: save the sheet as CSV"),
            (b"\xfd7zXZ\x00 rubbish", "is compressed with xz: decompress it first"),
            (b'{"user": 1, "item": 7}\n', "is JSON: save the table as CSV or Parquet"),
            (b'[{"user": 1, "item": 7}]', "is JSON: save the table as CSV or Parquet"),
            (b'\xef\xbb\xbf[\n  {"user": 1}]', "is JSON: save the table as CSV or Parquet"),
            (
                b"%%MatrixMarket matrix coordinate real general\n%\n3 3 1\n1 1 5\n",
                "is a Matrix Market file: save the table as CSV or Parquet",
            ),
            (b"%PDF-1.7\n", "is a PDF document: save the table as CSV or Parquet"),
            (b"ORC\x08\x03", "is an ORC file: save the table as CSV or Parquet"),
            (b"ARROW1\x00\x00", "is an Arrow or Feather file: save the table as CSV or Parquet"),
            (b"<!DOCTYPE html><html>", "is a web page or XML, perhaps an error page that was downloaded instead"),
            (gzip.compress(b"data.csv".ljust(257, b"\0") + b"ustar  ", mtime=0), "is a tar archive: unpack it first"),
            (gzip.compress(b"PAR1", mtime=0), "is a compressed Parquet file: decompress it first"),
            (gzip.compress(gzip.compress(b"user,item", mtime=0), mtime=0), "is compressed twice: decompress it first"),
            *(
                (head + b"\x00rest", "is compressed in a way that is not read: decompress it first")
                for head in (b"\x5d\x00\x00\x80\x00", b"\x1f\x9d\x90", b"\x78\x9c\xab", b"\xff\x06\x00\x00sNaPpY")
            ),
            *(
                (
                    "user,item\n1,2\n".encode(f"utf-16-{end}"),
                    f"is UTF-16 without a byte order mark: give --encoding "
                    f"utf-16-{end} ({SERVER}ENCODING=utf-16-{end})",
                )
                for end in ("le", "be")
            ),
        ],
    )
    def test_what_is_something_else_is_named(self, tmp_path: Path, content: bytes, what: str) -> None:
        """The sentence says what it is and what to do."""
        path = tmp_path / "data.csv"
        path.write_bytes(content)
        assert complaint_of(path) == f"{path} {what}."


class TestDirectories:
    """What other programs leave in a directory."""

    @pytest.mark.parametrize(
        "empty", [b"", b"\n", gzip.compress(b"", mtime=0)], ids=["0 bytes", "a line break", "gzip of nothing"]
    )
    def test_of_spark(self, tmp_path: Path, empty: bytes) -> None:
        """Empty parts are passed over; every file that is not read is counted and the first are named."""
        directory = tmp_path / "table.csv"
        directory.mkdir()
        (directory / "part-00000.csv").write_bytes(empty)
        write(directory / "part-00001.csv", "user,item\na,x\n")
        write(directory / "part-00002.csv", "user,item\nb,y\n")
        write(directory / "_SUCCESS", "")
        write(directory / "notes.md", "notes")
        found = read(directory)
        assert as_dict(found) == {("a", "x"): 1, ("b", "y"): 1}
        assert found.account.sentences() == [
            "3 files in the directories were not read: _SUCCESS, notes.md, part-00000.csv"
        ]

    def test_partitions(self, tmp_path: Path) -> None:
        """Partitions of Hive are read with their directories."""
        for day, user in (("2020-01-01", "a"), ("2020-01-02", "b")):
            part = tmp_path / f"date={day}" / "hour=1"
            part.mkdir(parents=True)
            pq.write_table(pa.table({"user_id": [user], "item_id": [user * 2]}), part / "part-0.snappy.parquet")
        assert as_dict(read(tmp_path)) == {("a", "aa"): 1, ("b", "bb"): 1}

    @pytest.mark.parametrize(
        ("log", "kind"),
        [("_delta_log/00000000000000000000.json", "Delta Lake"), (".hoodie/hoodie.properties", "Hudi"),
         ("metadata/v1.metadata.json", "Iceberg"), ("snapshot/snapshot-12", "Paimon")],
    )  # fmt: skip
    @pytest.mark.parametrize("given", [".", "table", "table/data", "table/data/part.csv"])
    def test_a_table_with_a_log(self, tmp_path: Path, log: str, kind: str, given: str) -> None:
        """It is refused, whether it, a directory above or below it, or one of its files is given."""
        table = tmp_path / "table"
        (table / log).parent.mkdir(parents=True)
        write(table / log, "{}")
        (table / "data").mkdir()
        write(table / "data" / "part.csv", "user,item\na,x\nb,y\n")
        assert complaint_of(tmp_path / given) == (
            f"{table} is a {kind} table, whose log says which of its files count; export its rows to a directory of "
            "Parquet or CSV files."
        )

    def test_a_linked_directory_is_counted(self, tmp_path: Path) -> None:
        """It is not followed, and not passed over silently."""
        (tmp_path / "elsewhere").mkdir()
        directory = tmp_path / "data"
        directory.mkdir()
        write(directory / "a.csv", "user,item\na,x\nb,y\n")
        (directory / "more").symlink_to(tmp_path / "elsewhere")
        account = Account()
        assert [file.path.name for file in files_of([directory], account)] == ["a.csv"]
        assert account.passed_over == [directory / "more"]
