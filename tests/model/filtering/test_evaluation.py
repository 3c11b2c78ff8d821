"""A filter is true of the items of which a plain reading of it is true."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadFilterError
from service.model.filtering.evaluation import evaluate
from service.model.filtering.language import parse
from tests.support.catalogs import Attributes, Filter, attributes, filters, make_catalog


@given(filters, st.lists(attributes(), max_size=12))
def test_a_filter_is_true_of_what_it_says(drawn: Filter, items: list[Attributes]) -> None:
    """Of every kind of attribute, alone and in lists, missing values and missing items included."""
    catalog = make_catalog({f"{place:02}": item for place, item in enumerate(items)})
    mask = evaluate(parse(drawn.text), catalog)
    assert mask.tolist() == [drawn.is_true(item) for item in [*items, {}]]


def wrong(text: str) -> str:
    """Return what a filter is refused with."""
    with pytest.raises(BadFilterError) as caught:
        evaluate(parse(text), CATALOG)
    return str(caught.value)


CATALOG = make_catalog(
    {"a": {}},
    {"genre": ("text", False), "tags": ("text", True), "price": ("number", False), "new": ("bool", False)},
)
KNOWN = "There are: genre (text), new (bool), price (number), tags (list of texts)."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "new AND gerne = 'x'",
            "There is no attribute 'gerne' (character 9 of the filter). Did you mean genre? " + KNOWN,
        ),
        ("x = 1", f"There is no attribute 'x' (character 1 of the filter). {KNOWN}"),
        (
            "price = '20'",
            "The attribute price (character 1 of the filter) is a number; compare it with a number, such as 20, "
            "not with '20'.",
        ),
        (
            "tags IN ('a', 3)",
            "The attribute tags (character 1 of the filter) is a list of texts; compare it with text in single quotes, "
            "such as 'horror', not with 3.",
        ),
        (
            "new = 'true'",
            "The attribute new (character 1 of the filter) is a bool; compare it with true or false, not with 'true'.",
        ),
        (
            "price",
            "The attribute price (character 1 of the filter) is a number; compare it with a number, such as 20, "
            "not with true.",
        ),
        (
            "genre < 'm'",
            "The attribute genre (character 1 of the filter) is text; it can only be compared by =, != and IN.",
        ),
    ],
)
def test_what_does_not_fit_the_catalog_is_named(text: str, message: str) -> None:
    """With its place, its type, and what there is."""
    assert wrong(text) == message


@pytest.mark.parametrize("day", ["2024-02-30", "May", "", "0001-01-01T00:00:00+23:59x"])
def test_what_is_no_date_is_refused(day: str) -> None:
    """A date is written as ISO 8601 has it."""
    catalog = make_catalog({"a": {}}, {"released": ("date", False)})
    with pytest.raises(BadFilterError, match="is a date; compare it with a date in quotes, such as '2024-05-31', not"):
        evaluate(parse(f"released > '{day}'"), catalog)


def test_many_attributes_are_not_all_listed() -> None:
    """A message stays short; of a catalog without attributes it says so."""
    many = make_catalog({"a": {}}, {f"a{number:02}": ("bool", False) for number in range(30)})
    with pytest.raises(BadFilterError, match=r"a19 \(bool\) and 10 more\.$"):
        evaluate(parse("b"), many)
    with pytest.raises(BadFilterError, match=r"There are: none\.$"):
        evaluate(parse("b"), make_catalog({"a": {}}, {}))


@pytest.mark.parametrize("operator", ["=", "!=", "<", "<=", ">", ">="])
@pytest.mark.parametrize(("name", "value"), [("number", "1"), ("date", "'2024-05-31'"), ("date_list", "'2024-05-31'")])
def test_no_comparison_is_true_of_a_missing_value(operator: str, name: str, value: str) -> None:
    """Whatever stands for it in an array; NOT of it is true."""
    catalog = make_catalog({"a": {}})
    assert evaluate(parse(f"{name} {operator} {value}"), catalog).tolist() == [False, False]
    assert evaluate(parse(f"NOT {name} {operator} {value}"), catalog).tolist() == [True, True]
