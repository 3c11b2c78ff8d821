"""README.md: short, true, and enough to begin with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.documents import page, sections
from tests.support.hostile import corpus

README = page("README.md")
_, *CLAIMS = re.split(r"^- ", sections(ROOT / "README.md")["why-als-serve"], flags=re.MULTILINE)
MEASURED = [claim for claim in CLAIMS if "docs/measurements.md#" in claim]


def test_it_is_read_in_one_sitting() -> None:
    """It has at most 140 lines; the rest is in docs/."""
    assert len(README.splitlines()) <= 140


def test_it_shows_the_explorer() -> None:
    """A picture comes before the first heading."""
    assert "](docs/images/explorer-light.png)" in README.partition("\n## ")[0]


def test_make_is_all_that_a_newcomer_needs() -> None:
    """`make demo` and `make test` are named, and are targets of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^\$ make (\w+)$", README, re.MULTILINE)
    assert targets == ["demo", "test"]
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


@pytest.mark.parametrize("claim", MEASURED, ids=lambda claim: claim[:40])
def test_every_number_was_measured(claim: str) -> None:
    """A claim has numbers, and each is in the section of docs/measurements.md that the claim links to."""
    anchor = re.findall(r"docs/measurements\.md#([\w-]+)", claim)[0]
    measured = sections(ROOT / "docs/measurements.md")[anchor]
    numbers = re.findall(r"\d+(?:[.,]\d+)*[kM]?", claim.partition("](")[0])
    assert numbers
    assert [number for number in numbers if not re.search(rf"(?<![\d.,]){re.escape(number)}(?![\d])", measured)] == []


def test_so_many_hostile_files_are_refused(tmp_path: Path) -> None:
    """The corpus that the tests refuse has as many files as the README says."""
    (said,) = re.findall(r"More than (\d+) hostile files", " ".join(README.split()))
    assert len(corpus(tmp_path / "executed")) > int(said)


def test_there_are_seven_claims() -> None:
    """Seven, all but one of them measured; that one links to what is promised."""
    assert len(CLAIMS) == 7
    assert len(MEASURED) == 6
