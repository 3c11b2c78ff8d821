"""The gates: what each finds, with which numbers and in which words."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadGoldenFileError
from service.model.rollout.gates import Finding, Thresholds, examine, share_of_own
from service.model.rollout.golden import MOST_REQUESTS, Golden, read_golden
from service.model.storage.snapshot import Snapshot
from tests.support.models import make_factors
from tests.support.serving import make_snapshot

MADE = dataclasses.replace(make_factors(users=60, items=40, pairs=None), user_ids=np.arange(60), item_ids=np.arange(40))


def snapshot(**changes: Any) -> Snapshot:
    """Return the model with some arrays replaced."""
    return make_snapshot(dataclasses.replace(MADE, **changes), repr(changes))


def first(count: int, kind: str) -> dict[str, Any]:
    """Return what leaves only the first users or items."""
    return {f"{kind}_{part}": getattr(MADE, f"{kind}_{part}")[:count] for part in ("ids", "factors")}


SERVED = snapshot()


def found(new: Snapshot, served: Snapshot | None = SERVED, golden: Golden | None = None) -> dict[str, Finding]:
    """Return the findings by gate."""
    return {finding.gate: finding for finding in examine(new, served, Thresholds(), golden)}


def test_a_model_passes_next_to_itself() -> None:
    """At every gate that has something to compare."""
    assert {gate: (one.passed, one.value, one.detail) for gate, one in found(SERVED).items()} == {
        "counts": (True, 1, ""),
        "factors": (True, 1, ""),
        "scores": (True, 0, ""),
        "overlap": (True, 1, ""),
    }


@pytest.mark.parametrize("users", [3, 60])
def test_findings_can_be_sent(users: int, tmp_path: Path) -> None:
    """To clients and to workers, as JSON, which has no numbers of NumPy's types."""
    golden = read_golden(golden_file(tmp_path, '{"user": 1}'))
    for served in (SERVED, None):
        findings = examine(snapshot(**first(users, "user")), served, Thresholds(), golden)
        assert msgspec.json.decode(msgspec.json.encode(findings), type=list[Finding]) == findings


def test_a_first_model_has_nothing_to_be_compared_with() -> None:
    """Only its factors are looked at, and golden requests."""
    assert list(found(SERVED, None)) == ["factors"]


@pytest.mark.parametrize("kind", ["user", "item"])
def test_counts(kind: str) -> None:
    """Half of the users or items are enough, less are not."""
    total = len(getattr(MADE, f"{kind}_ids"))
    assert found(snapshot(**first(total // 2, kind)))["counts"].passed
    finding = found(snapshot(**first(total // 2 - 1, kind)))["counts"]
    assert (finding.passed, finding.limit) == (False, 0.5)
    assert f"it has {total // 2 - 1} {kind}s, less than 50% of the {total} of the served model" == finding.detail


@pytest.mark.parametrize(("kind", "value"), [("user", 0), ("item", 0), ("user", 0.5), ("item", -2)])
def test_the_same_factors_for_all(kind: str, value: float) -> None:
    """Zeros or any others, next to a served model and without one."""
    factors = np.full_like(getattr(MADE, f"{kind}_factors"), value)
    for served in (SERVED, None):
        finding = found(snapshot(**{f"{kind}_factors": factors}), served)["factors"]
        assert (finding.passed, finding.value) == (False, 0)
        assert (
            finding.detail
            == f"it has factors of their own for only 0% of the {kind}s, and the others all have the same"
        )


def test_zeros_for_most() -> None:
    """A first model may have them: training leaves items at zero that nobody had. A later one may not have more."""
    factors = MADE.item_factors.copy()
    factors[10:] = 0
    mostly = snapshot(item_factors=factors)
    assert found(mostly, None)["factors"].passed
    assert not found(mostly)["factors"].passed
    assert found(mostly, mostly)["factors"].passed
    nothing = snapshot(item_factors=np.zeros_like(factors))
    assert found(nothing, nothing)["factors"].passed


def test_a_model_without_factors() -> None:
    """It may be the first, but not follow one that has some."""
    popular = make_snapshot(make_factors(factors=0))
    assert found(popular, None)["factors"].passed
    finding = found(popular)["factors"]
    assert (finding.passed, finding.detail) == (False, "it has no factors, only popularity")
    assert "overlap" not in found(popular)


@given(st.lists(st.lists(st.integers(-1, 1), min_size=2, max_size=2), min_size=10, max_size=50))
def test_the_share_of_own_factors(rows: list[list[int]]) -> None:
    """It is what is not in the largest group of equal rows, if that has more than one."""
    factors = np.array(rows, np.float32)
    largest = np.unique(factors, axis=0, return_counts=True)[1].max()
    assert share_of_own(factors) == pytest.approx(1 - largest / len(rows) if largest > 1 else 1)


def test_few_equal_rows_say_nothing() -> None:
    """But zeros do."""
    assert share_of_own(np.ones((3, 2), np.float32)) == 1
    assert share_of_own(np.array([[0, 0], [0, 0], [1, 0]], np.float32)) == pytest.approx(1 / 3)


@pytest.mark.parametrize("rows", [3, 30])
def test_what_is_found_can_be_answered(rows: int) -> None:
    """A finding of a model of any size is written as JSON by /v1/model, which knows nothing of NumPy's numbers."""
    made = make_factors(users=rows, items=rows, pairs=None)
    assert msgspec.json.encode(list(examine(make_snapshot(made), None, Thresholds(), None)))


def test_scores() -> None:
    """All scores ten times as high are far beyond one standard deviation; a hundredth more are not."""
    assert found(snapshot(item_factors=MADE.item_factors * np.float32(1.01)))["scores"].passed
    finding = found(snapshot(item_factors=MADE.item_factors * np.float32(10)))["scores"]
    assert not finding.passed
    assert finding.value
    assert finding.value > 1
    assert "p99 of its recommendations' scores is" in finding.detail


def test_scores_without_a_spread() -> None:
    """If all scores are equal, what they are is the scale."""
    same = {"user_factors": np.ones_like(MADE.user_factors), "item_factors": np.ones_like(MADE.item_factors)}
    flat = snapshot(**same)
    assert found(flat, flat)["scores"].value == 0
    higher = snapshot(user_factors=same["user_factors"], item_factors=same["item_factors"] * 3)
    assert found(higher, flat)["scores"].value == 2


def test_overlap() -> None:
    """Other factors recommend other items; other users cannot be compared."""
    other = make_factors(users=60, items=40, pairs=None, seed=9)
    finding = found(snapshot(item_factors=other.item_factors))["overlap"]
    assert (finding.passed, finding.limit) == (False, 0.4)
    assert "of 60 users" in finding.detail
    strangers = found(snapshot(user_ids=MADE.user_ids + 1000))["overlap"]
    assert (strangers.passed, strangers.detail) == (False, "it has no user in common with the served model")


def golden_file(directory: Path, *lines: str) -> Path:
    """Write a file of golden requests."""
    path = directory / "golden.jsonl"
    path.write_text("\n".join(lines))
    return path


def best(user: int) -> list[int]:
    """Return a user's items, the best first."""
    ranked = np.argsort(-(MADE.item_factors @ MADE.user_factors[user]), kind="stable")
    return [int(item) for item in ranked]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ('{"user": 3, "contains": [FIRST, "SECOND"], "not_contains": [LAST]}', ""),
        ('{"user": "3", "contains": [FIRST], "n": 1, "min_score": 0.01}', ""),
        ('{"user": 3, "contains": [LAST]}', "the top 10 has no LAST"),
        ('{"user": 3, "contains": [SECOND], "n": 1}', "the top 1 has no SECOND"),
        ('{"user": 3, "not_contains": ["FIRST"]}', "the top 10 has FIRST"),
        ('{"user": 3, "min_score": 10000}', "not 10000"),
        ('{"user": 3000}', "the model does not know the user"),
    ],
)
def test_golden_requests(tmp_path: Path, line: str, wrong: str) -> None:
    """Each expectation is met or not; ids are compared as text; a line is named by its number and not by its user."""
    names = {"FIRST": best(3)[0], "SECOND": best(3)[1], "LAST": best(3)[-1]}
    for name, item in names.items():
        line, wrong = line.replace(name, str(item)), wrong.replace(name, str(item))
    finding = found(SERVED, golden=read_golden(golden_file(tmp_path, "", line)))["golden"]
    assert finding.passed == (not wrong)
    assert wrong in finding.detail
    assert not wrong or finding.detail.startswith("line 2 of golden.jsonl: ")
    assert finding.value == finding.passed


def test_several_golden_requests_that_fail(tmp_path: Path) -> None:
    """The first is named, and the number of the others."""
    golden = read_golden(golden_file(tmp_path, '{"user": 1}', '{"user": 77}', '{"user": 78}', '{"user": 2}'))
    finding = found(SERVED, golden=golden)["golden"]
    assert finding.detail == "line 2 of golden.jsonl: the model does not know the user (and 1 more)"
    assert finding.value == 0.5


def test_golden_requests_can_be_stopped(tmp_path: Path) -> None:
    """When the server stops, it does not wait for all that is left."""
    golden = read_golden(golden_file(tmp_path, '{"user": 77}', '{"user": 78}', '{"user": 79}'))
    stops = iter([False, True])
    assert len(golden.failures(SERVED.model, lambda: next(stops))) == 1


def test_a_list_without_items_has_no_lowest_score(tmp_path: Path) -> None:
    """Someone who has had everything gets nothing, which no least score allows."""
    had = make_factors(users=1, items=40, pairs=2000)
    golden = read_golden(golden_file(tmp_path, f'{{"user": {had.user_ids[0]}, "min_score": -100}}'))
    assert had.seen is not None
    assert len(had.seen.items) == 40
    assert "the lowest score is missing" in found(make_snapshot(had), None, golden)["golden"].detail


def test_golden_requests_need_factors(tmp_path: Path) -> None:
    """A model of popularity alone fails them."""
    golden = read_golden(golden_file(tmp_path, '{"user": 1}'))
    assert not found(make_snapshot(make_factors(factors=0)), None, golden)["golden"].passed


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["{"], "Line 1 of PATH is not a golden request: Input data was truncated; correct it (its keys"),
        (['{"user": 1}', '{"contains": [1]}'], "Line 2 of PATH is not a golden request: Object missing required field"),
        (
            ['{"user": 1, "contain": [1]}'],
            "Line 1 of PATH is not a golden request: Object contains unknown field `contain`; correct it "
            "(its keys are user, contains, not_contains, min_score, n).",
        ),
        (['{"user": 1, "n": 0}'], "Expected `int` >= 1"),
        ([""], "PATH has no golden requests"),
        (['{"user": 1}'] * (MOST_REQUESTS + 1), "PATH has more than 1000 golden requests"),
        (['{"user": "' + "x" * 2**20 + '"}'], "PATH has more than 1000 golden requests or 1048576 bytes"),
    ],
)
def test_a_bad_file_of_golden_requests(tmp_path: Path, lines: list[str], sentence: str) -> None:
    """One sentence says where and what."""
    path = golden_file(tmp_path, *lines)
    with pytest.raises(BadGoldenFileError) as caught:
        read_golden(path)
    assert sentence.replace("PATH", str(path)) in str(caught.value)


def test_a_missing_file_of_golden_requests(tmp_path: Path) -> None:
    """It is named."""
    with pytest.raises(BadGoldenFileError, match=r"golden\.jsonl cannot be read: No such file"):
        read_golden(tmp_path / "golden.jsonl")
