from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadTitlesError, SnapshotDamagedError
from service.model.storage.source import Signature, Source
from service.model.titles import MAX_TITLE_BYTES, Titles, open_titles, read_titles, write_titles

SOURCE = Source("titles.csv", Signature("titles.csv", 1, 2, 3, 4, 5), "ab" * 32)
PATH = Path("titles.csv")


def read(text: str | bytes) -> Titles:
    """Read titles from a file of this content."""
    return read_titles(PATH, io.BufferedReader(io.BytesIO(text.encode() if isinstance(text, str) else text)))


def titles_of(titles: Titles, *ids: str) -> list[str | None]:
    """Return the titles of text ids."""
    return titles.of(np.array([given.encode() for given in ids]))


def test_titles_are_found_by_id() -> None:
    """Whatever the order of the file and of the question, an id has its own title, and an unknown one has none."""
    titles = read('id,title\nb,"Two, or: ""B"""\na,Eins\nß,Ümläute 📚\n')
    assert titles_of(titles, "ß", "a", "c", "b", "aa", "ßa-longer-id-than-any") == [
        "Ümläute 📚", "Eins", None, 'Two, or: "B"', None, None,
    ]  # fmt: skip
    assert len(titles) == 3


def test_ids_that_are_numbers_have_titles_too() -> None:
    """The text of a number in the file is the number in the model, negative ones and the largest included."""
    titles = read(f"id,title\n-7,minus\n42,answer\n042,no number\n{2**63 - 1},most\n")
    assert titles.of(np.array([42, 2**63 - 1, -7, 7])) == ["answer", "most", "minus", None]


@pytest.mark.parametrize(
    "header",
    [
        "id,title",
        "\ufeffitem_id,genre,title",
        "title,Product ID",
        "name,sku",
        "id,item_id,name,title",
    ],
)
def test_usual_names_are_found(header: str) -> None:
    """Columns are found by their usual names; item_id goes before id, and title before name."""
    wanted = {"id": "1", "item_id": "1", "Product ID": "1", "sku": "1", "title": "One", "name": "One"}
    row = wanted | ({"id": "x"} if "item_id" in header else {}) | ({"name": "x"} if "title" in header else {})
    titles = read(header + "\n" + ",".join(row.get(name.strip("\ufeff"), "") for name in header.split(",")) + "\n")
    assert titles_of(titles, "1", "x") == ["One", None]


def test_a_spreadsheet_s_mark_is_no_part_of_the_header() -> None:
    """The byte order mark that Excel writes stands before a quote, and does not make it a character."""
    assert titles_of(read('\ufeff"id\n",title\n1,One\n'), "1") == ["One"]


@pytest.mark.parametrize(
    "text",
    [
        'id;title\na;One, two\nb;"Th;ree"\n',
        "id\ttitle\r\na\tOne, two\r\nb\tTh;ree\r\n",
        '"id"\t"title"\na\t"One, two"\nb\t"Th;ree"\n',
    ],
    ids=["semicolons", "tabs", "tabs and quotes"],
)
def test_other_delimiters(text: str) -> None:
    """Semicolons and tabs separate fields as well, as in what als-serve trains on."""
    assert titles_of(read(text), "a", "b") == ["One, two", "Th;ree"]


def test_quotes_are_letters_where_tabs_separate() -> None:
    """A title that begins with a quote ends at the line's end."""
    titles = read('id\ttitle\na\t"Weird Al" Yankovic\nb\t"Heroes\n')
    assert titles_of(titles, "a", "b") == ['"Weird Al" Yankovic', '"Heroes']


def test_what_is_no_title_is_none() -> None:
    """Empty titles, empty lines and ids that no model can have are passed over; of two titles the last counts."""
    titles = read(f"id,title\na,first\n\nb,\nc,   \n,empty id\n{'x' * 257},too long\nz\0,NUL\na,last\n")
    assert titles_of(titles, "a", "b", "c", "z") == ["last", None, None, None]
    assert len(titles) == 1


def test_a_long_title_is_cut_at_a_character() -> None:
    """A title has at most 1,024 bytes, and never half a character."""
    (title,) = titles_of(read("id,title\na," + "é€" * 1000 + "\n"), "a")
    assert title is not None
    assert MAX_TITLE_BYTES - 3 < len(title.encode()) <= MAX_TITLE_BYTES
    assert ("é€" * 1000).startswith(title)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "titles.csv: the header lacks a column called item; this is not a file of titles."),
        ("title,genre\n", "titles.csv: the header lacks a column called item; it has title, genre."),
        ("id,genre\n", "titles.csv: the header lacks a column called title; it has id, genre."),
        ("item_id,sku,title\n", "titles.csv: the header has item_id and sku; keep one."),
        ("id,title\n", "titles.csv has no titles; it needs a row with an id and a title for each item."),
        ("id,title\na,\n", "titles.csv has no titles; it needs a row with an id and a title for each item."),
        (
            "id,title\na,Corpse, The\n",
            "titles.csv, line 2: there are 3 fields, but the header has 2; quote titles that contain commas.",
        ),
        ('id,title\na,"never closed\nb,B\n', "titles.csv, line 3: this is not CSV (unexpected end of data)."),
        (b"id,title\na,\xff\n", "titles.csv is not UTF-8; save it as CSV in UTF-8."),
        (b"PK\x03\x04\x00\xff", "titles.csv is not UTF-8; save it as CSV in UTF-8."),
    ],
)
def test_a_bad_file_is_refused_with_its_reason(content: str | bytes, sentence: str) -> None:
    """One sentence says what is wrong with a titles file, where, and what to do."""
    with pytest.raises(BadTitlesError, match=f"^{re.escape(sentence)}$"):
        read(content)


some_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)


@given(expected=st.dictionaries(some_text, some_text.filter(str.strip), min_size=1), unknown=some_text)
def test_every_title_comes_back(expected: dict[str, str], unknown: str) -> None:
    """Any text can be an id or a title: quotes, commas, line ends, right-to-left, emoji."""
    rows = (
        f'"{key.replace(chr(34), 2 * chr(34))}","{title.replace(chr(34), 2 * chr(34))}"'
        for key, title in expected.items()
    )
    titles = read("id,title\r\n" + "\r\n".join(rows))
    asked = [*expected, unknown]
    assert titles_of(titles, *asked) == [expected[key].strip() if key in expected else None for key in asked]


def test_titles_on_disk_are_the_same(tmp_path: Path) -> None:
    """What was written is mapped into memory again, not read into it."""
    titles = read("id,title\nb,Two\na,One\n")
    write_titles(tmp_path, titles, SOURCE)
    opened = open_titles(tmp_path)
    assert titles_of(opened, "a", "b", "c") == ["One", "Two", None]
    assert not opened.text.flags.owndata


@pytest.mark.parametrize(
    "wrong",
    [
        {"starts": np.array([0, 9], np.int64)},
        {"starts": np.array([3, 3], np.int64)},
        {"starts": np.array([0], np.int64)},
        {"starts": np.array([0, 3], np.int32)},
        {"ids": np.array([b""])[:0]},
        {"ids": np.array([1])},
        {"text": np.zeros((3, 1), np.uint8)},
    ],
)
def test_titles_of_another_form_are_not_opened(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """Whatever the manifest says, no look-up goes beyond the text."""
    write_titles(tmp_path, replace(read("id,title\na,One\n"), **wrong), SOURCE)
    with pytest.raises(SnapshotDamagedError):
        open_titles(tmp_path)


@pytest.mark.parametrize("name", ["manifest.json", "ids.npy", "starts.npy", "text.npy"])
def test_damaged_titles_are_not_opened(tmp_path: Path, name: str) -> None:
    """A file that is gone or cut short is noticed before anybody reads it."""
    write_titles(tmp_path, read("id,title\na,One\n"), SOURCE)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-1])
    with pytest.raises(SnapshotDamagedError):
        open_titles(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(SnapshotDamagedError):
        open_titles(tmp_path)
