"""The rules in docs/filters.md do what they say."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest

from service.model.catalog.catalog import Kind
from service.model.factors import Id
from service.model.filtering.evaluation import evaluate
from service.model.filtering.language import parse
from tests.support import ROOT
from tests.support.catalogs import Attributes, make_catalog

PAGE = (ROOT / "docs/filters.md").read_text(encoding="utf-8")
RULES = re.findall(r"^\| [^|]+ \| `([^`]+)` \| ([\w, ]+) \|$", PAGE, re.MULTILINE)
KINDS: dict[str, tuple[Kind, bool]] = {
    **dict.fromkeys(("genre", "seller"), ("text", False)),
    **dict.fromkeys(("tags", "regions"), ("text", True)),
    **dict.fromkeys(("price", "age", "stock"), ("number", False)),
    "released": ("date", False),
    "discontinued": ("bool", False),
}


def items() -> dict[Id, Attributes]:
    """Return the items of the page by their ids."""
    lines = [json.loads(line) for line in PAGE.partition("```json\n")[2].partition("```")[0].splitlines()]
    for line in lines:
        if "released" in line:
            line["released"] = datetime.fromisoformat(line["released"]).replace(tzinfo=UTC)
    return {line.pop("id"): line for line in lines}


def test_there_are_enough_rules() -> None:
    """The table is found."""
    assert len(RULES) >= 10


@pytest.mark.parametrize(("rule", "expected"), RULES)
def test_a_rule_leaves_the_items_it_says(rule: str, expected: str) -> None:
    """Of the catalog on the page."""
    catalog = make_catalog(items(), KINDS)
    mask = evaluate(parse(rule), catalog)[:-1]
    assert {name.decode() for name in catalog.ids[mask]} == set(expected.split(", "))
