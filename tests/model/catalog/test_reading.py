"""Files of items become catalogs: types are found or named, and what is wrong is said in one sentence."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadCatalogError
from service.model.catalog.catalog import NO_DATE, Catalog, Column
from service.model.catalog.naming import MAX_COLUMNS, columns_of
from service.model.catalog.reading import read_catalog
from service.model.catalog.wording import MAX_TEXT_BYTES
from service.model.ids import MAX_ID_BYTES

PATH = Path("items.csv")
NAME_IT = "as in ALS_ITEM_COLUMNS=code=id (--item-columns code=id)."
NO_IDS = "it lacks a column of ids, such as item_id; it has {}: name the column, " + NAME_IT


def read(content: str | bytes, columns: str | None = None) -> Catalog:
    """Read a file of this content."""
    as_bytes = content.encode() if isinstance(content, str) else content
    return read_catalog(PATH, io.BufferedReader(io.BytesIO(as_bytes)), columns_of(columns))


def parquet(columns: Mapping[str, Any]) -> bytes:
    """Return a Parquet file with these columns."""
    written = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), written)
    return written.getvalue()


def lines(*rows: Mapping[str, Any]) -> str:
    """Return JSON Lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def values_of(column: Column) -> list[Any]:
    """Return a column's values, None where one is missing."""
    found: list[Any] = column.values.tolist()
    if column.kind == "text":
        assert column.words is not None
        words = column.words.at(np.arange(len(column.words)))
        assert words == sorted(words, key=str.encode)
        assert set(found) - {-1} == set(range(len(words)))
        found = [None if code < 0 else words[code] for code in found]
    elif column.kind == "bool":
        found = [None if value < 0 else bool(value) for value in found]
    elif column.kind == "date":
        found = [None if value == NO_DATE else datetime.fromtimestamp(value / 1e6, UTC) for value in found]
    else:
        found = [None if math.isnan(value) else value for value in found]
    if column.starts is not None:
        return [found[start:end] for start, end in itertools.pairwise(column.starts.tolist())]
    return found


def contents(catalog: Catalog) -> dict[str, tuple[str, list[Any]]]:
    """Return {attribute: (kind, values)}."""
    return {name: (column.kind, values_of(column)) for name, column in catalog.columns.items()}


def moment(*parts: int) -> datetime:
    """Return a time in UTC."""
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type] # year to microsecond


def test_a_file_of_every_type() -> None:
    """Rows are ordered by id; titles, availability and each attribute's type are found."""
    catalog = read(
        "id,title,available,new,price,added,genre,tags\n"
        "b,Two,no,yes,9.5,2024-01-31,cookery,x|y\n"
        "a,Öne,,,,,,\n"
        "c,,1,NO,-3e2,2024-01-31 12:30:00+02:00,art,y\n"
    )
    assert catalog.ids.tolist() == [b"a", b"b", b"c"]
    assert catalog.titles is not None
    assert catalog.titles.at(np.arange(3)) == ["Öne", "Two", ""]
    assert catalog.available is not None
    assert catalog.available.tolist() == [True, False, True]
    assert contents(catalog) == {
        "new": ("bool", [None, True, False]),
        "price": ("number", [None, 9.5, -300]),
        "added": ("date", [None, moment(2024, 1, 31), moment(2024, 1, 31, 10, 30)]),
        "genre": ("text", [None, "cookery", "art"]),
        "tags": ("text", [[], ["x", "y"], ["y"]]),
    }


def test_json_lines_and_parquet_have_types_of_their_own() -> None:
    """Numbers, bools and lists are what the file says; a text is a text, except that dates are dates."""
    expected = {
        "new": ("bool", [True, None]),
        "price": ("number", [2.0, 3.5]),
        "code": ("text", ["007", "8"]),
        "added": ("date", [None, moment(2024, 1, 31)]),
        "tags": ("text", [["a|b", "a"], []]),
        "years": ("number", [[1.0, 2.0], [3.0]]),
    }
    rows: list[dict[str, Any]] = [
        {"id": 1, "new": True, "price": 2, "code": "007", "tags": ["a|b", "a", None], "years": [1, 2], "title": "One"},
        {"id": "2", "price": 3.5, "code": "8", "added": "2024-01-31", "tags": [], "years": [3.0], "available": False},
    ]
    names = {name: None for row in rows for name in row}
    as_columns = {name: [row.get(name) for row in rows] for name in names} | {"id": [1, 2]}
    for content in (lines(*rows), parquet(as_columns)):
        catalog = read(content)
        assert catalog.ids.tolist() == [b"1", b"2"]
        assert catalog.titles is not None
        assert catalog.titles.at(np.arange(2)) == ["One", ""]
        assert catalog.available is not None
        assert catalog.available.tolist() == [True, False]
        assert contents(catalog) == {name: expected[name] for name in contents(catalog)}
        assert contents(catalog).keys() == expected.keys()


def test_parquet_s_other_types() -> None:
    """Dates, timestamps, decimals, dictionaries and fixed lists are read; what no attribute can be is left out."""
    catalog = read(
        parquet(
            {
                "item_id": pa.array(["a", "b"]).dictionary_encode(),
                "day": pa.array([date(2024, 1, 31), None]),
                "at": pa.array([moment(2024, 1, 31, 1), None], pa.timestamp("ns", "Europe/Paris")),
                "nano": pa.array([1_706_659_200_000_000_999, None], pa.timestamp("ns")),
                "cost": pa.array([1, None], pa.int64()).cast(pa.decimal128(21, 2)),
                "small": pa.array([1, 2], pa.uint8()).dictionary_encode(),
                "genre": pa.array(["x", None]).dictionary_encode(),
                "pair": pa.array([[1.0, None], None], pa.list_(pa.float32(), 2)),
                "nothing": pa.nulls(2),
                "object": pa.array([{"x": 1}, None]),
                "for": pa.array([1, 2], pa.duration("s")),
                "deep": pa.array([[[1]], []]),
            }
        )
    )
    assert contents(catalog) == {
        "day": ("date", [moment(2024, 1, 31), None]),
        "at": ("date", [moment(2024, 1, 31, 1), None]),
        "nano": ("date", [moment(2024, 1, 31), None]),
        "cost": ("number", [1.0, None]),
        "small": ("number", [1.0, 2.0]),
        "genre": ("text", ["x", None]),
        "pair": ("number", [[1.0], []]),
        "nothing": ("text", [None, None]),
    }
    assert len(catalog.account.remarks) == 3


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["true", "No", ""], "bool", [True, False, None]),
        (["0", "1"], "number", [0.0, 1.0]),
        (["1.5", "N/A", ".5", "-2", "1e3", "NULL"], "number", [1.5, None, 0.5, -2.0, 1000.0, None]),
        (["007", "1"], "text", ["007", "1"]),
        (["1234567890123456", "1"], "text", ["1234567890123456", "1"]),
        (["inf", "1"], "text", ["inf", "1"]),
        (["1e999", "1"], "text", ["1e999", "1"]),
        (["t", "f"], "text", ["t", "f"]),
        (["NO", "SE"], "text", ["NO", "SE"]),
        (["2024-02-29", "NaT"], "date", [moment(2024, 2, 29), None]),
        (["2024-02-30", "2024-01-01"], "text", ["2024-02-30", "2024-01-01"]),
        (["0000-01-01", "2024-01-01"], "text", ["0000-01-01", "2024-01-01"]),
        (
            ["1969-12-31T23:59:59.5Z", "2024-01-31 12:00 UTC", "2024-01-31T12:00:00.1234567-0130"],
            "date",
            [
                moment(1969, 12, 31, 23, 59, 59, 500_000),
                moment(2024, 1, 31, 12),
                moment(2024, 1, 31, 13, 30, 0, 123456),
            ],
        ),
        (["2024-01-31 12:00:00 +02:00", "2024-01-31"], "date", [moment(2024, 1, 31, 10), moment(2024, 1, 31)]),
        (["1|2", "3", "", "|"], "number", [[1.0, 2.0], [3.0], [], []]),
        (["a| b ", "2", "NA|x", " "], "text", [["a", "b"], ["2"], ["NA", "x"], []]),
        ([" a ", "a", "b"], "text", ["a", "a", "b"]),
        (["NULL", ""], "text", ["NULL", None]),
        (["", ""], "text", [None, None]),
    ],
)
def test_the_type_of_a_column_of_text(values: list[str], kind: str, expected: list[Any]) -> None:
    """All values decide together; what would change by becoming a number stays text; empty values are missing."""
    rows = "".join(f"{place},{value}\n" for place, value in enumerate(values))
    assert contents(read("id,x\n" + rows)) == {"x": (kind, expected)}


@pytest.mark.parametrize(
    ("meaning", "values", "kind", "expected"),
    [
        ("text", ["1", "a|b"], "text", ["1", "a|b"]),
        ("number", ["007", "", "123456789012345678"], "number", [7.0, None, 123456789012345678.0]),
        ("bool", ["1", "0", "y", "off", "null"], "bool", [True, False, True, False, None]),
        ("date", ["2024-01-31", ""], "date", [moment(2024, 1, 31), None]),
        ("list", ["1", "", "2"], "number", [[1.0], [], [2.0]]),
        ("number", ["", ""], "number", [None, None]),
    ],
)
def test_a_type_can_be_named(meaning: str, values: list[str], kind: str, expected: list[Any]) -> None:
    """What a user says of a column counts, whatever its values look like."""
    rows = "".join(f"{place},{value}\n" for place, value in enumerate(values))
    assert contents(read("id,x\n" + rows, f"x={meaning}")) == {"x": (kind, expected)}


def test_a_type_can_be_named_in_files_with_types() -> None:
    """Numbers become texts, texts numbers, and 0 and 1 bools; a single value becomes a list."""
    columns: dict[str, list[Any]] = {
        "id": ["a", "b"],
        "sku": [1, 2],
        "price": ["1", "2.5"],
        "new": [0.0, None],
        "tag": ["x", None],
    }
    named = "sku=text,price=number,new=bool,tag=list"
    expected = {
        "sku": ("text", ["1", "2"]),
        "price": ("number", [1.0, 2.5]),
        "new": ("bool", [False, None]),
        "tag": ("text", [["x"], []]),
    }
    assert contents(read(parquet(columns), named)) == expected
    rows = [{name: values[place] for name, values in columns.items()} for place in range(2)]
    assert contents(read(lines(*rows), named)) == expected


def test_values_of_json_of_several_types_are_texts() -> None:
    """A key with numbers and texts is text; with a list and single values, a list; objects are left out."""
    catalog = read(
        lines(
            {"id": 2**70, "x": 1, "tags": "a", "deep": [[1]]},
            {"id": "b", "x": "one", "tags": ["b"], "object": {}},
            {"id": True, "x": None, "tags": None, "big": 10**400},
        )
    )
    assert catalog.ids.tolist() == [str(2**70).encode(), b"b", b"true"]
    assert contents(catalog) == {
        "x": ("text", ["1", "one", None]),
        "tags": ("text", [["a"], ["b"], []]),
        "big": ("text", [None, None, ("1" + 400 * "0")]),
    }
    assert len(catalog.account.remarks) == 2


def test_blocks_of_json_lines_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not matter how far apart two values are: the types of all blocks become one."""
    monkeypatch.setattr("service.model.catalog.json_lines._BLOCK_LINES", 1)
    rows: list[dict[str, Any]] = [
        {"id": 1, "n": 1, "x": True, "tags": 1, "o": 1},
        {"id": "2", "n": 1.5, "x": "a", "tags": ["b", "c"], "o": {}},
        {"id": 3, "late": "2024-01-01"},
    ]
    expected = {
        "n": ("number", [1.0, 1.5, None]),
        "x": ("text", ["true", "a", None]),
        "tags": ("text", [["1"], ["b", "c"], []]),
        "late": ("date", [None, None, moment(2024, 1, 1)]),
    }
    assert contents(read(lines(*rows))) == expected


def test_the_order_of_keys_does_not_matter() -> None:
    """Of an object in JSON, also if a later row has the keys of the first in another order."""
    rows: list[dict[str, Any]] = [{"id": "a", "n": 1, "m": 2}, {"m": 4, "n": 3, "id": "b"}]
    expected = {"n": ("number", [1.0, 3.0]), "m": ("number", [2.0, 4.0])}
    assert contents(read(lines(*rows))) == contents(read(lines(*rows[::-1]))) == expected


@pytest.mark.parametrize(
    ("header", "id_column", "title_column"),
    [
        ("item_id,id,artist,name,title", "item_id", "title"),
        ("id,sku,artist,name", "id", "name"),
        ("artist,movieId,Item Name", "movieId", "Item Name"),
        ("SKU,genre", "SKU", None),
    ],
)
def test_usual_names_are_found(header: str, id_column: str, title_column: str | None) -> None:
    """Ids and titles are found by common names, the surest first; all other columns are attributes."""
    names = header.split(",")
    row = {id_column: "the id"} | ({title_column: "The Title"} if title_column else {})
    catalog = read(header + "\n" + ",".join(row.get(name, "x") for name in names) + "\n")
    assert catalog.ids.tolist() == [b"the id"]
    assert (catalog.titles and catalog.titles.at(np.arange(1))) == (["The Title"] if title_column else None)
    assert len(catalog.columns) == len(names) - len(row)


def test_columns_can_be_named_and_left_out() -> None:
    """A user says which column has the ids, the titles and the availability, and what not to load at all."""
    catalog = read(
        "id,code,label,in stock,secret,title\n1,a,A,no,x,t\n",
        "code=id, label=title, in stock=available, secret=-, absent=-",
    )
    assert catalog.ids.tolist() == [b"a"]
    assert catalog.titles is not None
    assert catalog.titles.at(np.arange(1)) == ["A"]
    assert catalog.available is not None
    assert list(catalog.columns) == ["id", "title"]


def test_attributes_have_the_names_of_columns() -> None:
    """Any name is kept, without blanks around it; a column without one is left out, and that is said."""
    catalog = read("id, age rating ,2nd,Größe,in,,%s\n1,2,3,4,5,6,7\n" % ("x" * 65))
    assert list(catalog.columns) == ["age rating", "2nd", "Größe", "in"]
    assert catalog.account.remarks == (
        "column 6 is left out: it has no name",
        "column 7 is left out: its name has more than 64 characters",
    )


def test_the_last_row_of_an_id_counts_and_bad_ids_are_left_out() -> None:
    """Both are counted; ids are read by the rule of training, where 17 and 17.0 are one."""
    catalog = read(f"id,x\nb,1\n17,2\n,3\nb,4\n{'y' * (MAX_ID_BYTES + 1)},5\n17.0,6\nNULL,7\n")
    assert catalog.ids.tolist() == [b"17", b"b"]
    assert values_of(catalog.columns["x"]) == [6.0, 4.0]
    assert catalog.account.left_out == {"no id": 2, "an id that is too long": 1}
    assert catalog.account.repeated == 2


def test_what_does_not_occur_is_not_a_word() -> None:
    """The text of a row that does not count is not kept, even if the file has a dictionary of all."""
    catalog = read(parquet({"id": ["a", "a", "b"], "x": ["gone", "here", None]}))
    assert values_of(catalog.columns["x"]) == ["here", None]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (
            {"id": ["a", "b"], "sold": pa.array([0, 3 * 10**17], pa.timestamp("us"))},
            "the column sold has a date before the year 1 or after 9999.",
        ),
        (
            {"id": ["a", "b"], "available": [{"yes": True}, {"yes": False}]},
            "the column available has values of type struct<yes: bool>",
        ),
        (
            {"id": pa.array([b"a", b"\xff"])},
            "the column id has bytes that are not UTF-8 text; ids are whole numbers or text.",
        ),
    ],
    ids=["date", "availability", "ids"],
)
def test_what_parquet_can_have_and_a_catalog_cannot_is_said(columns: Mapping[str, Any], sentence: str) -> None:
    """With the column."""
    with pytest.raises(BadCatalogError) as raised:
        read(parquet(columns))
    assert sentence in str(raised.value)


def test_titles_of_another_type_are_none() -> None:
    """Such as dates: they are not names."""
    assert read(parquet({"id": ["a"], "title": [date(2024, 1, 31)]})).titles is None


def test_a_catalog_in_which_all_is_available_does_not_say_so() -> None:
    """A column of nothing but yes, or of nothing, is the same as none; so is one of empty titles."""
    for value in ("yes", ""):
        catalog = read(f"id,available,title\n1,{value},\n2,{value},\n")
        assert (catalog.available, catalog.titles, catalog.columns) == (None, None, {})


def test_long_texts_are_cut_at_a_character() -> None:
    """A text or title has at most 1,024 bytes, never half a character, and how many are longer is said."""
    long = "é€" * 1000
    catalog = read(f"id,title,about\na,{long},{long}\nb,x,y\n")
    assert catalog.titles is not None
    (about, _), title = values_of(catalog.columns["about"]), catalog.titles.at(np.arange(1))[0]
    for text in (about, title):
        assert MAX_TEXT_BYTES - 3 < len(text.encode()) <= MAX_TEXT_BYTES
        assert long.startswith(text)
    assert len(catalog.account.remarks) == 1


def test_infinite_numbers_are_missing() -> None:
    """A ratio that was divided by zero keeps nobody's catalog from being read."""
    catalog = read(parquet({"id": [1, 2, 3], "x": [math.inf, math.nan, 1.0]}))
    assert values_of(catalog.columns["x"]) == [None, None, 1.0]
    assert len(catalog.account.remarks) == 1


@pytest.mark.parametrize(
    "compress", [gzip.compress, bz2.compress, lambda content: pa.compress(content, "zstd", asbytes=True)]
)
@pytest.mark.parametrize("content", [b"id,x\n1,a\n", b'{"id": 1, "x": "a"}\n'])
def test_compressed_files_are_read(compress: Any, content: bytes) -> None:
    """Text and JSON Lines may be compressed, which is seen in the content."""
    assert contents(read(compress(content))) == {"x": ("text", ["a"])}


@pytest.mark.parametrize(
    "content",
    [
        'id;x\na;One, two\nb;"Th;ree"\n',
        "id\tx\r\na\tOne, two\r\nb\tTh;ree\r\n",
        '"id"\t"x"\na\t"One, two"\nb\t"Th;ree"\n',
        '\ufeffid,x\na,"One, two"\n\nb,Th;ree',
        'id,x\na,"One, two"\nb,Th;ree\n'.encode("utf-16"),
    ],
    ids=["semicolons", "tabs", "tabs and quotes", "a mark", "UTF-16"],
)
def test_forms_of_text(content: str | bytes) -> None:
    """Commas, semicolons and tabs separate fields, in UTF-8 and UTF-16."""
    assert contents(read(content)) == {"x": ("text", ["One, two", "Th;ree"])}


def test_quotes_are_letters_where_tabs_separate() -> None:
    """A text that begins with a quote ends at the line's end."""
    assert contents(read('id\tx\na\t"Weird Al" Yankovic\nb\t"Heroes\n')) == {
        "x": ("text", ['"Weird Al" Yankovic', '"Heroes'])
    }


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("a,b\n1,2\n", NO_IDS.format("a, b")),
        ("sku,isbn\n1,2\n", "it has sku and isbn: name the right one, " + NAME_IT),
        ("id,id\n1,2\n", "it has id and id: name the right one, " + NAME_IT),
        ("id\n", "it has no row with an id."),
        ("id,x\n,1\n", "it has no row with an id."),
        ("id,x,x\n1,2,3\n", "it has x twice: rename one of the columns."),
        (
            "id,x\n1,2\n\n2,3,4\n5,6,7\n",
            "line 4: there are 3 fields, but the header has 2; quote texts that contain the delimiter.",
        ),
        ('id,x\n1,"2\n3,4\n', "a quote is never closed."),
        ("id,available\n1,yes\n2,maybe\n", "line 3: the column available is 'maybe', which is neither true nor false."),
        (b"id,x\n1,\xff\n", "the byte 0xff is not UTF-8; save it as UTF-8."),
        ("id,x\n1,2\n3,4\n".encode("utf-16-le"), "it is UTF-16 without a byte order mark: save it as UTF-8."),
        (b"PK\x03\x04.", "it is a zip archive: unpack it first."),
        ('[{"id": 1}]', "it is JSON: save the table as CSV or Parquet."),
        ('{"id": 1}\n\n{"id": 2\n', "line 3 is not one JSON object (Input data was truncated)."),
        ('{"id": 1}\n[2]\n', "line 2 is not one JSON object (Expected `object`, got `array`)."),
        ('{"id": NaN}\n', "line 1 is not one JSON object (JSON is malformed: invalid character (byte 7))."),
        ('{"x": 1}\n', NO_IDS.format("x")),
        (parquet({"id": pa.array([1]), "available": pa.array(["maybe"])}),
         "row 1: the column available is 'maybe', which is neither true nor false."),
        (parquet({"id": pa.array([[1]])}), "the column id is of type list<element: int64>; ids are numbers or text."),
        ("x" * 2_000_000, "its first line has more than 262144 characters; a header has fewer."),
        ("id,x\n1," + "y" * 2**25 + "\n", "a row has 16 MB or more, perhaps because a quote is never closed."),
        (lines({"id": 1, "available": [True]}), "line 1: the column available has lists, not bools."),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_with_its_reason(content: str | bytes, sentence: str) -> None:
    """One sentence says what is wrong, where, and what to do."""
    with pytest.raises(BadCatalogError, match=f"^{re.escape(f'items.csv: {sentence}')}$"):
        read(content)


def test_a_damaged_parquet_file_is_refused() -> None:
    """With Arrow's reason, which may be cut."""
    with pytest.raises(
        BadCatalogError, match=r"^items\.csv cannot be read as CSV, JSON Lines or Parquet: Parquet magic"
    ):
        read(b"PAR1" + bytes(40))


@pytest.mark.parametrize(
    ("content", "columns", "sentence"),
    [
        ("id,x\n1,2\n2,cheap\n", "x=number", "line 3: the column x is 'cheap', which is not a number."),
        ("id,x\nb,2\na,cheap\n", "x=number", "line 3: the column x is 'cheap', which is not a number."),
        ("id,x\n1,2\n", "x=bool", "line 2: the column x is '2', which is neither true nor false."),
        ("id,x\n1,2\n", "y=bool", "it lacks the column 'y', which ALS_ITEM_COLUMNS names; it has id, x."),
        (lines({"id": 1}, {"id": 2, "x": [1]}), "x=text", "line 2: the column x has lists, not texts."),
        (
            lines({"id": 1, "x": "y"}),
            "x=date",
            "line 1: the column x is 'y', which is not a date such as 2024-01-31 or 2024-01-31T12:00:00+01:00.",
        ),
    ],
)  # fmt: skip
def test_a_value_of_another_type_than_named_is_refused(content: str, columns: str, sentence: str) -> None:
    """A named type is a promise, so that no filter stops working because of one bad value."""
    with pytest.raises(BadCatalogError, match=f"^{re.escape(f'items.csv: {sentence}')}$"):
        read(content, columns)


def test_a_file_of_too_many_columns_is_refused() -> None:
    """The limit holds in every format, before anything else is read."""
    names = ["id", *(f"c{number}" for number in range(MAX_COLUMNS))]
    csv = ",".join(names) + "\n" + ",".join("1" * len(names)) + "\n"
    for content in (csv, lines(dict.fromkeys(names, 1)), parquet({name: [1] for name in names})):
        with pytest.raises(BadCatalogError, match=f"{MAX_COLUMNS}"):
            read(content)


some_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0|"), min_size=1, max_size=12)


@given(expected=st.dictionaries(st.from_regex(r"[a-zß📚][a-z,;\" ]{0,6}x", fullmatch=True), some_text, min_size=1))
def test_every_text_comes_back(expected: dict[str, str]) -> None:
    """Any text can be a value: quotes, commas, line ends, right-to-left, emoji; only blanks around it go."""
    quoted = [[f'"{text.replace(chr(34), 2 * chr(34))}"' for text in row] for row in expected.items()]
    catalog = read("id,x\r\n" + "\r\n".join(",".join(row) for row in quoted), "x=text")
    found = dict(zip((key.decode() for key in catalog.ids.tolist()), values_of(catalog.columns["x"]), strict=True))
    assert found == {key: text.strip() or None for key, text in expected.items()}


@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "n": st.integers(-(2**50), 2**50) | st.floats(allow_nan=False, allow_infinity=False),
                "t": st.sampled_from(["", "a", "b", "ä"]),
                "l": st.lists(st.sampled_from(["x", "y"]), max_size=3),
            },
        ),
        min_size=1,
        max_size=8,
    )
)
def test_formats_agree(rows: list[dict[str, Any]]) -> None:
    """The same rows as JSON Lines and as Parquet are the same catalog."""
    numbered = [{"id": f"i{place}", "n": None, "t": None, "l": None} | row for place, row in enumerate(rows)]
    schema = pa.schema([("id", pa.string()), ("n", pa.float64()), ("t", pa.string()), ("l", pa.list_(pa.string()))])
    written = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(numbered, schema), written)
    named = "n=number,t=text,l=list"
    assert contents(read(lines(*numbered), named)) == contents(read(written.getvalue(), named))
