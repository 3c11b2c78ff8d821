"""Ids and the rows that they stand for."""

from __future__ import annotations

import tracemalloc
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.model.factors import Id
from service.model.ids import MAX_ID_BYTES, Ids

INT64 = np.iinfo(np.int64)

numbers = st.lists(
    st.integers(INT64.min, INT64.max) | st.sampled_from([INT64.min, -1, 0, 1, INT64.max]), min_size=1, unique=True
)
texts = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=MAX_ID_BYTES // 4)
    | st.sampled_from(["0", "-1", "042", " 42", "a/b", "é", "e\u0301", "İ", "🛒", "x" * MAX_ID_BYTES]),
    min_size=1,
    unique=True,
)


def in_any_order(values: NDArray[Any]) -> Ids:
    """Return ids that need a sorter."""
    return Ids(values, np.argsort(values, kind="stable").astype(np.int64))


def of_numbers(ids: list[int]) -> Ids:
    """Return these numbers as ids, row by row."""
    return in_any_order(np.array(ids, np.int64))


def of_texts(ids: list[str]) -> Ids:
    """Return these texts as ids, row by row."""
    return in_any_order(np.array([text.encode() for text in ids]))


@given(numbers)
def test_every_number_is_found_in_its_row_as_a_number_and_as_text(ids: list[int]) -> None:
    """A number finds its own row, whether asked for as JSON number or as text in a path, and comes back an int."""
    found = of_numbers(ids)
    assert [found.row(number) for number in ids] == list(range(len(ids)))
    assert [found.row(str(number)) for number in ids] == list(range(len(ids)))
    assert found.at(np.arange(len(ids))) == [found.of(row) for row in range(len(ids))] == ids
    assert {type(number) for number in found.at(np.arange(len(ids)))} == {int}
    assert (found.kind, len(found)) == ("int", len(ids))


@given(texts)
def test_every_text_is_found_in_its_row(ids: list[str]) -> None:
    """A text finds its own row byte by byte, no matter how alike others look, and comes back as it was."""
    found = of_texts(ids)
    assert [found.row(text) for text in ids] == list(range(len(ids)))
    assert found.at(np.arange(len(ids))) == [found.of(row) for row in range(len(ids))] == ids
    assert (found.kind, len(found)) == ("str", len(ids))


@given(texts, st.text() | st.integers())
def test_what_is_no_id_has_no_row(ids: list[str], wanted: Id) -> None:
    """Any other text or number is unknown; it is never row -1 nor a neighbour's."""
    row = of_texts(ids).row(wanted)
    assert row == (ids.index(str(wanted)) if str(wanted) in ids else None)


@given(numbers, st.integers() | st.text() | st.from_regex(r"[-+ 0]?[0-9]{1,25}", fullmatch=True))
def test_what_is_no_number_of_the_model_has_no_row(ids: list[int], wanted: Id) -> None:
    """Among numbers only the exact number, or its canonical text, is known."""
    spelled = [str(number) for number in ids]
    assert of_numbers(ids).row(wanted) == (spelled.index(str(wanted)) if str(wanted) in spelled else None)


@pytest.mark.parametrize(
    "wanted",
    [
        "042", "+42", "-42", " 42", "42 ", "4_2", "42.0", "4e1", "٤٢", "-0", "", "42\0", "42\n", "nan",
        2**63, -(2**63) - 1, 10**400, str(2**63), "9" * 19, "9" * 100_000,
    ],
)  # fmt: skip
def test_another_spelling_of_a_number_is_unknown(wanted: Id) -> None:
    """What int() or NumPy would read as 42 or wrap around to an id is not that id."""
    assert of_numbers([42, 0, INT64.min, INT64.max]).row(wanted) is None


@pytest.mark.parametrize("wanted", ["", "a\0", "\0", "\0a", "a\0b", "ab", "A", "a" * 300, "a" * 10**6, "\ud800", 1, -1])
def test_text_that_numpy_would_take_for_another_is_unknown(wanted: Id) -> None:
    """NumPy strips trailing NULs and cuts or widens long keys; none of that finds an id."""
    assert of_texts(["a", "b", "🛒"]).row(wanted) is None


def test_ascending_ids_need_no_sorter() -> None:
    """User ids, kept in ascending order, are found without a second array."""
    ids = Ids(np.array([b"a", b"b", b"c"]))
    assert [ids.row(text) for text in ("a", "b", "c", "d", "0")] == [0, 1, 2, None, None]


@example(first=INT64.max - 2, count=3, wanted=INT64.min)
@given(
    first=st.integers(-3, 3) | st.sampled_from([INT64.min, INT64.max - 9]),
    count=st.integers(1, 9),
    wanted=st.integers(-9, 12) | st.integers(),
)
def test_consecutive_numbers_are_found_as_any_are(first: int, count: int, wanted: int) -> None:
    """Row numbers as ids, and the like: the n-th is in row n, and what lies beside them is unknown."""
    consecutive = range(first, first + count)
    ids = Ids(np.array(consecutive, np.int64))
    assert ids.row(wanted) == (wanted - first if wanted in consecutive else None)
    assert [ids.row(str(number)) for number in consecutive] == list(range(count))


@pytest.mark.parametrize("wanted", ["id-77777", "unknown", "id-\u00e9", "x" * 250, 77_777, "y" * 10_000])
@pytest.mark.parametrize("kind", ["int", "str"])
def test_looking_up_never_copies_the_ids(kind: str, wanted: Id) -> None:
    """A look-up costs no memory, however many ids there are and whatever is asked for."""
    numbers = np.arange(100_000)
    values = numbers if kind == "int" else np.sort(np.char.add("id-", numbers.astype(str)).astype(bytes))
    ids = Ids(values, np.arange(len(values)))
    ids.row(wanted)
    tracemalloc.start()
    ids.row(wanted)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < values.nbytes / 10


@example(given=[INT64.min, INT64.max], prefix=9)
@example(given=[INT64.min, INT64.max], prefix=-9)
@given(given=numbers | st.lists(st.integers(-300, 300), unique=True), prefix=st.integers(-40, 40))
def test_numbers_that_start_alike_are_listed(given: list[int], prefix: int) -> None:
    """Of numbers, those are listed whose digits begin so, those with fewer digits first."""
    ids = Ids(np.array(sorted(given), np.int64))
    found = [sorted(given)[row] for row in ids.starting_with(str(prefix))]
    assert sorted(found) == sorted(number for number in given if str(number).startswith(str(prefix)))
    assert [len(str(number)) for number in found] == sorted(len(str(number)) for number in found)


@given(given=st.lists(st.text("abß🛒", min_size=1, max_size=3), min_size=1, unique=True), prefix=st.text("abß🛒"))
def test_texts_that_start_alike_are_listed(given: list[str], prefix: str) -> None:
    """Text is listed in the order of its bytes, and everything where nothing is asked for."""
    ordered = sorted(text.encode() for text in given)
    ids = Ids(np.array(ordered))
    assert [ordered[row] for row in ids.starting_with(prefix)] == [
        text for text in ordered if text.startswith(prefix.encode())
    ]


@example(given=[-150, -15, -1, 1, 15, 150], prefix="-1", cut=0)
@example(given=[-150, -15, -1, 1, 15, 150], prefix="-1", cut=1)
@example(given=[-150, -15, -1, 1, 15, 150], prefix="1", cut=1)
@given(
    given=numbers | st.lists(st.integers(-300, 300), unique=True),
    prefix=st.just("") | st.integers(-40, 40).map(str),
    cut=st.integers(0, 20),
)
def test_a_list_of_numbers_goes_on_after_any_of_them(given: list[int], prefix: str, cut: int) -> None:
    """What comes after a listed id is the rest of the list, whether or not the id is still there."""
    listed = [sorted(given)[row] for row in Ids(np.array(sorted(given), np.int64)).starting_with(prefix)]
    if cut < len(listed):
        for left in (given, [number for number in given if number != listed[cut]]):
            rows = Ids(np.array(sorted(left), np.int64)).starting_with(prefix, str(listed[cut]))
            assert [sorted(left)[row] for row in rows] == listed[cut + 1 :]


@given(
    given=st.lists(st.text("abß🛒", min_size=1, max_size=3), min_size=1, unique=True),
    prefix=st.text("abß🛒", max_size=1),
    after=st.text("abß🛒", min_size=1, max_size=5),
)
def test_a_list_of_texts_goes_on_after_any_text(given: list[str], prefix: str, after: str) -> None:
    """Listed are those that are greater, also where the text is longer than any id."""
    ordered = sorted(text.encode() for text in given)
    assert [ordered[row] for row in Ids(np.array(ordered)).starting_with(prefix, after)] == [
        text for text in ordered if text.startswith(prefix.encode()) and text > after.encode()
    ]


@given(
    given=st.lists(st.text("ab🛒", min_size=1, max_size=3), unique=True) | numbers,
    prefix=st.sampled_from(["", "a", "b", "1", "-1", "🛒"]),
    after=st.none() | st.sampled_from(["ab", "12", "-1"]),
    seed=st.randoms(),
)
def test_ids_in_any_order_are_listed_in_theirs(
    given: list[str] | list[int], prefix: str, after: str | None, seed: Random
) -> None:
    """Ids whose rows are in another order, as those of items, are listed as if they ascended."""
    ascending = np.array(sorted(text.encode() if isinstance(text, str) else text for text in given))
    rows = list(range(len(ascending)))
    seed.shuffle(rows)
    if len(ascending) and not (ascending.dtype.kind == "i" and after == "ab"):
        shuffled = Ids(ascending[rows], np.argsort(np.array(rows)))
        listed = shuffled.at(np.array(list(shuffled.starting_with(prefix, after)), np.int64))
        ordered = Ids(ascending)
        assert listed == ordered.at(np.array(list(ordered.starting_with(prefix, after)), np.int64))


@pytest.mark.parametrize("prefix", ["\0", "a\0", "a" * 300, "\ud800", "-", "+1", "01", "1.", "9" * 30])
def test_no_id_starts_like_what_no_id_has(prefix: str) -> None:
    """What no id can begin with finds nothing, and never the whole list."""
    assert list(Ids(np.array([b"a", b"aa"])).starting_with(prefix)) == []
    assert list(Ids(np.array([-1, 1, 10])).starting_with(prefix)) == []


_LISTS = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=22))


@given(numbers, texts, _LISTS)
@example([5, 10**18], ["5"], ["5", "05", "+5", "-5", "-", "5 ", "10", "1000000000000000000", "9" * 19, "1" * 21])
@example([0, INT64.min, INT64.max], ["x"], ["0", "-0", str(INT64.min), str(INT64.max), str(INT64.max + 1)])
@example([1], ["ab"], ["a", "abc", "ab"])
def test_rows_of_many_are_those_of_each(ids: list[int], names: list[str], asked: list[str]) -> None:
    """A list of ids finds what each of them would find by itself, in any order, however long each is."""
    for made in (of_numbers(ids), of_texts(names), Ids(np.array(sorted(ids), np.int64))):
        everything = [*asked, *map(str, ids), *names]
        found = made.rows(np.array([text.encode() for text in everything], np.bytes_))
        assert found.dtype == np.int32
        assert [None if row < 0 else row for row in found.tolist()] == [made.row(text) for text in everything]


def test_rows_of_an_empty_list() -> None:
    """No ids are found among some, and some among none."""
    assert of_numbers([1]).rows(np.empty(0, "S1")).tolist() == []
    assert Ids(np.empty(0, np.int64)).rows(np.array([b"1"])).tolist() == [-1]


@pytest.mark.parametrize("as_text", [False, True])
def test_numbers_are_given_as_numbers_or_as_text(as_text: bool) -> None:
    """As the rows of an answer, as one id, and as an unknown id that is repeated; they are found in either form."""
    numbers = [-5, 7, 2**53 + 1, 2**63 - 1]
    ids = Ids(np.array(numbers, np.int64), as_text=as_text)
    given = [str(number) for number in numbers] if as_text else numbers
    assert ids.at(np.arange(4)) == given
    assert [ids.of(row) for row in range(4)] == given
    assert [ids.own_form(number) for number in numbers] == given
    assert [ids.own_form(str(number)) for number in numbers] == given
    assert [ids.row(number) for number in numbers] == [ids.row(str(number)) for number in numbers] == [0, 1, 2, 3]
    assert [ids.own_form(other) for other in ("x", "007", 2**64)] == ["x", "007", str(2**64) if as_text else 2**64]


def test_text_is_given_as_text() -> None:
    """A number that was asked for is repeated as the text that it would be."""
    ids = Ids(np.array([b"5", b"x"]), as_text=True)
    assert (ids.at(np.arange(2)), ids.of(0), ids.own_form(7)) == (["5", "x"], "5", "7")
