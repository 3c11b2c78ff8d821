"""The compiled scan and NumPy's: exact, the same to the last bit, and within their memory whatever they are given."""

from __future__ import annotations

import dataclasses
import math
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.model.arranging import arrange
from service.model.codes import quantize, stride_of
from service.model.factors import Float32
from service.model.model import Model
from service.model.scoring import kernel, scoring
from service.model.scoring.batches import GROUP, recommend_many
from service.model.scoring.kernel import address
from service.model.scoring.products import scores_of
from service.model.scoring.ranking import NO_ROWS, Eligible, Ranked, is_mask
from service.model.scoring.scan import scan_of
from tests.support.helpers import need
from tests.support.models import make_factors
from tests.support.scanning import (
    KINDS,
    Case,
    answers_of,
    by_sorting,
    compiled,
    encoded,
    nasty_cases,
    nasty_model,
    right_answers,
)


@pytest.fixture(params=["int8", "numpy"])
def scanning(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Scan by the kernel, and by NumPy."""
    if request.param == "numpy":
        monkeypatch.setattr(kernel, "library", None)
    else:
        need(kernel.library, "The kernel was not built: install gcc, then als-serve again")
    return kernel.name()


def assert_exact(found: Ranked, case: Case, vector: Float32) -> None:
    """Require the rows of a full sort, and their scores to the last bit."""
    rows, scores = by_sorting(case, vector)
    assert found.rows.tolist() == rows.tolist()
    assert found.scores.tobytes() == scores.tobytes()


# ---------------------------------------------------------------- exactness


def test_nasty_models_are_answered_as_by_a_full_sort(scanning: str) -> None:
    """Ties, duplicates, zeros and any scale; exclusions, lists and masks; one by one and together: the same bits."""
    for case in nasty_cases(seed=1, rows=900):
        model = case.model
        for vector in model.user_factors:
            found = scoring.top_n(model, vector, case.n, without=case.without, eligible=case.eligible)
            assert_exact(found, case, vector)
        users = np.arange(len(model.user_factors), dtype=np.int32)
        together = [
            ranked
            for turn in recommend_many(
                model, users, case.n, exclude_seen=False, exclude=case.without, eligible=case.eligible
            )
            for ranked in turn
        ]
        for found, vector in zip(together, model.user_factors, strict=True):
            assert_exact(found, case, vector)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a model of a nasty kind and any filter."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    rows = draw(st.integers(1, 300) | st.sampled_from([63, 64, 65, 128, 4000]))
    model = nasty_model(draw(st.sampled_from(KINDS)), rng, rows, draw(st.integers(1, 40)))
    drawn = np.flatnonzero(rng.random(rows) < draw(st.sampled_from([0, 0.02, 0.5, 1]))).astype(np.int32)
    kept = np.flatnonzero(rng.random(rows) < draw(st.sampled_from([0, 0.02, 0.5, 1]))).astype(np.int32)
    eligible: list[Eligible | None] = [None, kept, kept.astype(np.int64), np.isin(np.arange(rows), kept)]
    return Case(model, draw(st.integers(1, 30) | st.sampled_from([rows, 5000])), drawn, draw(st.sampled_from(eligible)))


@given(cases(), st.integers(0, 40))
@settings(max_examples=150)
def test_kernel_and_numpy_give_the_same_bits(case: Case, offset: int) -> None:
    """Whatever the model, the filters and the page: rows and scores are those of a full sort, with either."""
    for library in (kernel.library, None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernel, "library", library)
            for vector in case.model.user_factors:
                rows, scores = by_sorting(dataclasses.replace(case, n=case.n + offset), vector)
                found = scoring.top_n(
                    case.model, vector, case.n, offset=offset, without=case.without, eligible=case.eligible
                )
                assert found.rows.tolist() == rows[offset:].tolist()
                assert found.scores.tobytes() == scores[offset:].tobytes()


@given(st.integers(0, 10_000), st.integers(1, 200), st.integers(1, 20))
def test_nothing_is_missed_where_only_rounding_tells_scores_apart(seed: int, factors: int, n: int) -> None:
    """Items that all point where the user does, their norms one rounding apart, are the hardest to tell apart."""
    rng = np.random.default_rng(seed)
    vector = rng.normal(size=factors).astype(np.float32)
    model = with_items(vector * (1 - np.arange(200, dtype=np.float32)[:, None] * np.float32(2**-23)))
    assert_exact(scoring.top_n(model, vector, n), Case(model, n), vector)


def with_items(items: Float32) -> Model:
    """Return a model of these items."""
    source = make_factors(users=1, items=len(items), factors=items.shape[1], pairs=None)
    return arrange(dataclasses.replace(source, item_factors=items))


@pytest.mark.parametrize("kind", ["equal", "told apart by less than the digits of a user", "too small for codes"])
def test_more_candidates_than_there_is_room_for(kind: str, scanning: str) -> None:
    """Where no bound tells tens of thousands of items apart, their scores do, and then their rows."""
    rng = np.random.default_rng(0)
    if kind == "equal":
        items = np.repeat(rng.normal(size=(1, 24)), 20_000, axis=0).astype(np.float32)
        items[rng.random(20_000) < 0.01] *= np.float32(1 + 2**-22)
        model = dataclasses.replace(with_items(items), user_factors=items[:1])
    else:
        model = nasty_model(kind, rng, 20_000, 64)
    for n in (1, 10, 3000):
        for vector in model.user_factors:
            assert_exact(scoring.top_n(model, vector, n), Case(model, n), vector)


def test_the_best_may_stand_behind_many_of_greater_norm(scanning: str) -> None:
    """The scan does not end before the last item whose norm alone could make it the best."""
    vector = np.array([1, 0], np.float32)
    first = np.tile(np.array([0.997, math.sqrt(1 - 0.997**2)]), (64 * 80, 1))
    model = with_items(np.concatenate((first, [[0.9985, 0]])).astype(np.float32))
    assert scoring.top_n(model, vector, 1).rows.tolist() == [64 * 80]


def test_where_the_kernel_declines_numpy_scans() -> None:
    """Of numbers so large that a bound might overflow, the answer is the same as ever, alone and together."""
    made = arrange(make_factors(users=40, items=500, factors=8, pairs=None))
    norms = np.linalg.norm(made.user_factors, axis=1)
    model = dataclasses.replace(
        made, user_factors=made.user_factors * np.float32(3e37 / (norms.max() * made.item_norms[0]))
    )
    users = np.arange(40, dtype=np.int32)
    together = [ranked for turn in recommend_many(model, users, 10) for ranked in turn]
    for vector, found in zip(model.user_factors, together, strict=True):
        assert_exact(scoring.top_n(model, vector, 10), Case(model, 10), vector)
        assert_exact(found, Case(model, 10), vector)
    scan = scan_of(model)
    assert scan is None or scan.top_n(address(model.user_factors[norms.argmax()]), 10, 0, 0) is None


# ---------------------------------------------------------------- scores and codes


@given(st.integers(0, 10_000), st.integers(1, 70), st.integers(0, 30))
def test_a_score_does_not_depend_on_its_neighbours(seed: int, factors: int, rows: int) -> None:
    """Alone or among others, a row has the same score to the last bit, near the exact one, and no negative zero."""
    rng = np.random.default_rng(seed)
    items = rng.normal(size=(rows, factors)).astype(np.float32)
    items[::3] *= -0.0
    vector = rng.normal(size=factors).astype(np.float32)
    scores = scores_of(items, vector)
    alone = [scores_of(items[row : row + 1], vector) for row in range(rows)]
    assert scores.tobytes() == b"".join(score.tobytes() for score in alone)
    np.testing.assert_allclose(scores, items.astype(np.float64) @ vector, atol=1e-5 * factors)
    assert not np.signbit(scores[scores == 0]).any()


@given(st.sampled_from(KINDS), st.integers(0, 10_000), st.integers(1, 70))
def test_codes_are_as_near_as_they_say(kind: str, seed: int, factors: int) -> None:
    """Each row differs from its step times its codes by rho times its step at most; where that is 0, it is tiny."""
    items = nasty_model(kind, np.random.default_rng(seed), 50, factors).item_factors
    codes = quantize(items)
    assert codes.codes.shape == (50, stride_of(factors))
    assert not codes.codes[:, factors:].any()
    assert codes.codes.min() >= -127
    steps = codes.steps.astype(np.float64)
    rests = np.linalg.norm(items - steps[:, None] * codes.codes[:, :factors], axis=1)
    known = steps > 0
    assert (rests[known] <= codes.rho * steps[known]).all()
    assert (np.abs(items[~known]) <= 127e-30).all()


# ---------------------------------------------------------------- what is counted


def test_rows_and_bytes_are_counted(scanning: str) -> None:
    """Where norms fall off, few rows are scanned; their codes are a quarter of what NumPy reads."""
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(20_000, 64)).astype(np.float32)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    steep = flat / (1 + np.arange(20_000, dtype=np.float32)[:, None])
    few = scoring.top_n(with_items(steep), flat[0], 5)
    most = scoring.top_n(with_items(flat), flat[0], 500)
    assert few.scanned < 2000 < most.scanned == 20_000
    each = {"int8": 64 + 4, "numpy": 4 * 64}[scanning]
    assert 20_000 * each <= most.read <= 20_000 * each + 3000 * 4 * 64


# ---------------------------------------------------------------- who may be in an answer


def test_a_row_that_is_none_is_refused(scanning: str) -> None:
    """A list or a mask of another model's items is an error, not an answer."""
    model = with_items(np.ones((100, 3), np.float32))
    vector = np.ones(3, np.float32)
    for wrong in ([100], [5, 2**31 - 1], [-101]):
        with pytest.raises(IndexError):
            scoring.top_n(model, vector, 5, eligible=np.array(wrong, np.int32))
    with pytest.raises(IndexError):
        scoring.top_n(model, vector, 5, eligible=np.ones(99, np.bool_))


# ---------------------------------------------------------------- many users


def test_a_batch_is_the_same_as_one_by_one(scanning: str) -> None:
    """Groups, their rest, users twice, pages, exclusions: each gets what they would alone."""
    model = arrange(make_factors(users=80, items=700, factors=20, pairs=4000))
    users = np.random.default_rng(0).integers(0, 80, 2 * GROUP + 3).astype(np.int32)
    for exclude in (NO_ROWS, np.array([5, 3, 3, 699], np.int32)):
        for exclude_seen in (True, False):
            options: dict[str, Any] = {"offset": 3, "exclude_seen": exclude_seen, "exclude": exclude}
            together = [ranked for turn in recommend_many(model, users, 7, **options) for ranked in turn]
            for user, found in zip(users.tolist(), together, strict=True):
                alone = scoring.recommend(model, user, 7, **options)
                assert found.rows.tolist() == alone.rows.tolist()
                assert found.scores.tobytes() == alone.scores.tobytes()
                assert found.scanned == alone.scanned


def test_a_batch_is_done_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """After every turn the scan can end; what comes of all turns does not depend on how long they are."""
    need(kernel.library, "The kernel was not built: install gcc, then als-serve again")
    model = arrange(make_factors(users=10, items=700, factors=20, pairs=None))
    users = np.arange(10, dtype=np.int32)
    whole = [ranked for turn in recommend_many(model, users, 300) for ranked in turn]
    monkeypatch.setattr("service.model.scoring.batches._PRODUCTS_PER_TURN", 1)
    turns = list(recommend_many(model, users, 300))
    assert [len(turn) for turn in turns] == [0] * 10 + [10]
    for one, other in zip(whole, turns[-1], strict=True):
        assert one.rows.tolist() == other.rows.tolist()
        assert one.scores.tobytes() == other.scores.tobytes()


def test_threads_do_not_disturb_one_another() -> None:
    """Any number of threads scan at once, one model or several, small answers and large ones."""
    models = [arrange(make_factors(users=20, items=items, factors=8, seed=items, pairs=None)) for items in (90, 3000)]
    asked = [(model, user, n) for model in models for n in (5, 500) for user in range(20)]
    expected = [scoring.recommend(*question).scores.tobytes() for question in asked]
    barrier = threading.Barrier(4)

    def ask(_: int) -> list[bytes]:
        barrier.wait(10)
        return [scoring.recommend(*question).scores.tobytes() for _ in range(10) for question in asked]

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(ask, range(4))) == [expected * 10] * 4


# ---------------------------------------------------------------- other builds


BUILDS = {
    "baseline": ["-DONE_PROCESSOR"],
    "sanitized": [
        *("-DONE_PROCESSOR", "-g", "-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"),
        "-Wno-error=maybe-uninitialized",
    ],
}


@pytest.mark.parametrize("options", BUILDS.values(), ids=BUILDS)
def test_every_build_gives_the_same_bits(tmp_path: Path, options: list[str]) -> None:
    """With no more than SSE2, and watched by AddressSanitizer and UBSan: rows and scores to the last bit."""
    program = compiled(tmp_path, *options)
    cases = list(nasty_cases(seed=2, rows=600))
    assert answers_of([str(program)], list(map(encoded, cases))) == b"".join(map(right_answers, cases))


def test_another_processor_gives_the_same_bits(tmp_path: Path) -> None:
    """An ARM processor, emulated."""
    packages = "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
    program = compiled(tmp_path, "-static", compiler="aarch64-linux-gnu-gcc", package=packages)
    need(shutil.which("qemu-aarch64"), "qemu-aarch64 is missing: apt-get install --no-install-recommends qemu-user")
    cases = list(nasty_cases(seed=3, rows=300))
    assert answers_of(["qemu-aarch64", str(program)], list(map(encoded, cases))) == b"".join(map(right_answers, cases))


def test_no_content_leads_out_of_an_array(tmp_path: Path) -> None:
    """Whatever stands in a snapshot's arrays, in lists and in vectors, all reads and writes stay in their memory."""
    program = compiled(tmp_path, *BUILDS["sanitized"])
    rng = np.random.default_rng(4)
    garbage = []
    for case in nasty_cases(seed=4, rows=300, repeats=2):
        good: dict[str, NDArray[Any]] = {
            "steps": case.model.codes.steps,
            "norms": case.model.item_norms,
            "items": case.model.item_factors,
        }
        good |= {"vectors": case.model.user_factors, "codes": case.model.codes.codes, "without": case.without}
        if case.eligible is not None and not is_mask(case.eligible):
            good["listed"] = case.eligible
        damaged = [name for name in good if rng.random() < 0.4]
        random = {name: np.frombuffer(rng.bytes(good[name].nbytes), good[name].dtype) for name in damaged}
        garbage.append(encoded(case, **random, rho=np.float32(rng.choice([0, 1, np.inf, np.nan]))))
    answers_of([str(program)], garbage)


# ---------------------------------------------------------------- the library


def test_a_library_of_another_version_is_not_called(tmp_path: Path) -> None:
    """What an older checkout left, a file that is not a library, and what is not there: NumPy scans."""
    old = tmp_path / "old.so"
    need(shutil.which("gcc"), "gcc is missing: apt-get install --no-install-recommends gcc libc6-dev")
    source = tmp_path / "old.c"
    source.write_text("const int scan_version = 0;")
    subprocess.run(["gcc", "-shared", "-fPIC", str(source), "-o", str(old)], check=True)
    text = tmp_path / "text.so"
    text.write_text("no library")
    assert [kernel.load(path) for path in (old, text, tmp_path / "none.so")] == [None] * 3
