"""Filters are parsed in linear time, and what is wrong with one is said with its place."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadFilterError
from service.model.filtering.evaluation import evaluate
from service.model.filtering.expressions import MAX_CHARACTERS, MAX_TERMS
from service.model.filtering.language import parse
from tests.support.catalogs import make_catalog

CATALOG = make_catalog({"a": {"text": "horror", "number": 1.0}})
_VALUE = "a value (text in single quotes, a number, true or false)"

PIECES = st.sampled_from(
    [
        *("and", "OR", "not", "in", "(", ")", ",", "=", "!=", "<", ">=", "'horror'", "'it''s'", "1", "-2.5e3", "true"),
        *("bool", "number", "text", "text_list", "date", '"bool"', "'", '"', " ", "\n", "é", "\0", "𝟙", ";", "--"),
    ]
)


@given(st.text(max_size=60) | st.lists(PIECES, max_size=30).map(" ".join) | st.lists(PIECES, max_size=30).map("".join))
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    """Whatever a client sends, it is evaluated, or refused by the one error, in one sentence that can be shown."""
    try:
        said = str(evaluate(parse(text), CATALOG).shape)
    except BadFilterError as error:
        said = str(error)
    assert said == "(2,)" or said.endswith(".")
    assert said.isprintable()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The filter ends too early; it needs an attribute or '('."),
        ("genre =", f"The filter ends too early; it needs {_VALUE}."),
        ("genre = horror", f"The filter has 'horror' at character 9 where it needs {_VALUE}."),
        ("genre == 'horror'", "The filter has '==' at character 7; use =."),
        ("genre <> 'horror'", "The filter has '<>' at character 7; use !=."),
        ("genre = = 'horror'", f"The filter has '=' at character 9 where it needs {_VALUE}."),
        ("genre = 'horror", "The quote at character 9 of the filter is never closed; close it."),
        ('"genre = 1', "The quote at character 1 of the filter is never closed; close it."),
        ("genre % new", "The filter has '%' at character 7, which has no meaning there."),
        ("genre && new", "The filter has '&' at character 7, which has no meaning there; use AND."),
        ("genre || new", "The filter has '|' at character 7, which has no meaning there; use OR."),
        ("!new", "The filter has '!' at character 1, which has no meaning there; use NOT."),
        ("genre IN ['horror']", "The filter has '[' at character 10, which has no meaning there; use ( )."),
        ("genre IN ('horror']", "The filter has ']' at character 19, which has no meaning there; use ( )."),
        ("(genre", "The filter ends too early; it needs ')'."),
        ("genre)", "The filter has ')' at character 6 where it needs the end."),
        ("genre IN ()", f"The filter has ')' at character 11 where it needs {_VALUE}."),
        ("genre IN (1", "The filter ends too early; it needs ',' or ')'."),
        ("genre NOT 1", "The filter has '1' at character 11 where it needs IN."),
        ("and = 1", "The filter has 'and' at character 1 where it needs an attribute or '('."),
        ("x" * 2501, "The filter has 2501 characters; at most 2500 are allowed."),
        ("a OR " * 50 + "a", "The filter has more than 50 comparisons; use IN for several values."),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, message: str) -> None:
    """What was found, where, and what is needed there."""
    with pytest.raises(BadFilterError) as caught:
        parse(text)
    assert str(caught.value) == message


def test_keywords_are_whole_words() -> None:
    """An attribute may begin with a keyword, or be one in double quotes."""
    for text in ("android", "order = 1", "nothing AND inner", '"and" OR "NOT"', "in-stock", "not.x", "truely = 1"):
        assert parse(text).terms >= 1


@pytest.mark.parametrize(
    "text",
    [
        "(" * 1249 + "a" + ")" * 1249,
        "NOT " * 624 + "a",
        "(a AND NOT (b OR " * (MAX_TERMS // 2 - 1) + "c" + "))" * (MAX_TERMS // 2 - 1),
        "a IN (1" + ",1" * 1200 + ")",
        "'" * 2500,
        '"' * 2499 + "a",
        "a=1" + "0" * 2400,
        "a=" + "." * 2400,
    ],
)
def test_no_filter_takes_long_or_nests_too_deep(text: str) -> None:
    """The longest and deepest filters are parsed or refused without recursion or backtracking."""
    assert len(text) <= MAX_CHARACTERS
    with suppress(BadFilterError):  # nothing else may be raised
        assert parse(text).terms <= MAX_TERMS


def test_nots_cancel_each_other() -> None:
    """So they never nest in one another."""
    assert parse("NOT NOT a") == parse("        a")
    assert parse("NOT (NOT a)") == parse("         a")
    assert parse("NOT NOT NOT a") == parse("NOT         a")
