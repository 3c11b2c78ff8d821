"""The gates of a live server: what they block stays out until a person accepts it, and the last good model stays."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from service.live.administration import Administration
from service.live.admission import GatePolicy, Mode
from service.live.commands import RollBack
from service.model.factors import Factors
from service.model.rollout.gates import GATES, Gate
from service.observe.metrics import Metrics
from tests.support.helpers import (
    Place,
    at_work,
    counted_imports,
    events,
    eventually,
    metric,
    model_bytes,
    put,
    rejected,
    until_served,
    version,
)
from tests.support.models import make_factors, popularity_bytes
from tests.support.stores import Store

GOOD = dataclasses.replace(
    make_factors(users=200, items=60, pairs=None), user_ids=np.arange(200), item_ids=np.arange(60)
)


def content(**changes: object) -> bytes:
    """Return a model file with some arrays replaced."""
    return model_bytes(factors=dataclasses.replace(GOOD, **changes))  # type: ignore[arg-type] # arrays by name


def _truncated() -> Factors:
    return dataclasses.replace(GOOD, user_ids=GOOD.user_ids[:2], user_factors=GOOD.user_factors[:2])


GOOD_FILE = model_bytes(factors=GOOD)
#: Nearly the same model, so that it passes every gate.
BETTER_FILE = content(item_factors=GOOD.item_factors * np.float32(1.01))
OTHER_ITEMS = make_factors(users=200, items=60, pairs=None, seed=7).item_factors
#: What each gate is for.
BAD_FILES: dict[Gate, bytes] = {
    "counts": model_bytes(factors=_truncated()),
    "factors": content(user_factors=np.zeros_like(GOOD.user_factors)),
    "scores": content(item_factors=GOOD.item_factors * np.float32(10)),
    "overlap": content(item_factors=OTHER_ITEMS),
    "golden": BETTER_FILE,
}
GOLDEN = {"user": 3, "contains": [1000]}


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """Return a file of golden requests that no model answers as expected."""
    path = tmp_path / "golden.jsonl"
    path.write_text(json.dumps(GOLDEN))
    return path


def place_golden(path: Path, line: str | None) -> None:
    """Replace the file of golden requests, or remove it."""
    path.unlink() if line is None else path.write_text(line)


def only(gate: Gate, mode: Mode, golden: Path | None = None) -> GatePolicy:
    """Return a policy with one gate."""
    return GatePolicy({**dict.fromkeys(GATES, "off"), gate: mode}, golden=golden)


async def until_rejected(store: Store, reason: str) -> None:
    """Return once the last file was rejected for this reason."""
    await eventually(lambda: rejected(store, reason))


@pytest.mark.parametrize("gate", GATES)
async def test_what_is_blocked_is_not_served(
    place: Place, gate: Gate, golden: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The last good model stays; the reload, the log and a metric say which gate, and how to let the model in."""
    caplog.set_level("INFO")
    async with place.serving(GOOD_FILE):
        pass  # without gates, so that the golden one lets the first model in
    place.gate_policy = only(gate, "block", golden)
    async with place.serving(GOOD_FILE) as store:
        caplog.clear()
        refused = put(place.path, BAD_FILES[gate])
        await until_rejected(store, f"gate_{gate}")
        await eventually(lambda: "still_serving" in events(caplog))
        assert store.current
        assert store.current.version == version(GOOD_FILE)
        assert store.state == "stale"
        assert events(caplog) == ["rejected", "still_serving"]
        assert metric(store, "als_gate_results_total", gate=gate, result="blocked") == 1
        assert [found for found in GATES if metric(store, "als_gate_blocks", gate=found)] == [gate]
        last = store.last_reload
        assert last
        assert last.version == refused
        assert f"If the model is good all the same, als-serve accept {refused} lets it in" in last.detail
        assert [(found.gate, found.result) for found in last.gates] == [(gate, "blocked")]
        assert last.gates[0].detail in last.detail
        put(place.path, GOOD_FILE)
        await eventually(lambda: not rejected(store, f"gate_{gate}"))
        assert not any(metric(store, "als_gate_blocks", gate=found) for found in GATES)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("mode", ["warn", "off"])
async def test_what_is_not_blocked_is_served(
    place: Place, gate: Gate, mode: Mode, golden: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With a warning, in the log and in the reload, or without a word."""
    caplog.set_level("INFO")
    place.gate_policy = only(gate, mode, golden)
    async with place.serving(GOOD_FILE) as store:
        caplog.clear()
        put(place.path, BAD_FILES[gate])
        await until_served(store, version(BAD_FILES[gate]))
        await eventually(lambda: "swapped" in events(caplog))
        assert events(caplog) == (["gate_warned", "swapped"] if mode == "warn" else ["swapped"])
        assert store.last_reload
        results = [(found.gate, found.result) for found in store.last_reload.gates]
        assert results == ([(gate, "warned")] if mode == "warn" else [])


async def test_what_passes_is_counted(place: Place) -> None:
    """Each gate that had something to compare."""
    place.gate_policy = GatePolicy(dict.fromkeys(GATES, "block"))
    async with place.serving(GOOD_FILE) as store:
        put(place.path, BETTER_FILE)
        await until_served(store, version(BETTER_FILE))
        assert store.last_reload
        assert [found.gate for found in store.last_reload.gates] == ["counts", "factors", "scores", "overlap"]
        assert metric(store, "als_gate_results_total", gate="overlap", result="passed") == 1
        assert metric(store, "als_gate_results_total", gate="factors", result="passed") == 2  # of the first model, too
        assert "gates" in store.load_seconds


async def test_an_accepted_model_is_swapped_in(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a restart, without the file being touched, and without another import."""
    caplog.set_level("INFO")
    place.gate_policy = only("counts", "block")
    imports = counted_imports(monkeypatch)
    async with place.serving(GOOD_FILE) as store, at_work(store.live.notice_acceptance(0.02)):
        refused = put(place.path, BAD_FILES["counts"])
        await until_rejected(store, "gate_counts")
        assert store.live.admission.verdicts.accept(refused)
        await until_served(store, refused)
        await eventually(lambda: "swapped" in events(caplog))
        assert imports == [version(GOOD_FILE), refused]
        assert "gate_accepted" in events(caplog)
        assert store.last_reload
        assert [found.result for found in store.last_reload.gates] == ["accepted"]
        put(place.path, GOOD_FILE)
        await until_served(store, version(GOOD_FILE))
        put(place.path, BAD_FILES["counts"])
        await until_served(store, refused)


async def test_an_accepted_model_is_swapped_in_after_a_roll_back(place: Place) -> None:
    """Though the version that was left is refused, too, and later."""
    place.gate_policy = only("counts", "block")
    async with place.serving(GOOD_FILE) as store, at_work(store.live.notice_acceptance(0.02)):
        put(place.path, BETTER_FILE)
        await until_served(store, version(BETTER_FILE))
        refused = put(place.path, BAD_FILES["counts"])
        await until_rejected(store, "gate_counts")
        assert (await Administration(store.live).perform(RollBack())).served == version(GOOD_FILE)
        store.live.admission.verdicts.accept(refused)
        await until_served(store, refused)


async def test_another_version_that_is_accepted_changes_nothing(place: Place) -> None:
    """The model that a gate blocked stays out."""
    place.gate_policy = only("counts", "block")
    async with place.serving(GOOD_FILE) as store, at_work(store.live.notice_acceptance(0.01)):
        put(place.path, BAD_FILES["counts"])
        await until_rejected(store, "gate_counts")
        store.live.admission.verdicts.accept(version(BETTER_FILE))
        await store.look()
        assert len(store.live.reloader.history) == 2
        assert store.current
        assert store.current.version == version(GOOD_FILE)


async def test_after_a_restart_the_good_model_is_served_again(place: Place) -> None:
    """And not the one that was blocked, though it was imported later; it is blocked once more."""
    place.gate_policy = only("counts", "block")
    for _ in range(2):
        async with place.started() as store:
            if not place.path.exists():
                put(place.path, GOOD_FILE)
                await until_served(store, version(GOOD_FILE))
                put(place.path, BAD_FILES["counts"])
            await until_rejected(store, "gate_counts")
            assert store.current
            assert store.current.version == version(GOOD_FILE)


async def test_the_same_file_after_a_restart_passes(place: Place, golden: Path) -> None:
    """It is served already, so it is not compared, nor asked anything."""
    async with place.serving(GOOD_FILE):
        pass
    place.gate_policy = only("golden", "block", golden)
    async with place.started() as store:
        await until_served(store, version(GOOD_FILE))
        assert store.last_reload
        assert (store.last_reload.outcome, store.last_reload.gates) == ("swapped", [])


async def test_a_first_model_that_is_blocked_is_never_served(place: Place) -> None:
    """Neither at once nor after a restart, nor in place of a missing file."""
    place.gate_policy = only("factors", "block")
    put(place.path, BAD_FILES["factors"])
    for reason in ("gate_factors", "gate_factors", "file_missing"):
        if reason == "file_missing":
            place.path.unlink()
        async with place.started() as store:
            await until_rejected(store, reason)
            assert store.current is None


async def test_at_another_path_the_model_used_last_is_compared(place: Place) -> None:
    """The new model is not let in although nothing is served yet; the one used last is served in its place."""
    async with place.serving(GOOD_FILE):
        pass
    place.path = place.path.with_name("other.npz")
    place.gate_policy = only("counts", "block")
    put(place.path, BAD_FILES["counts"])
    async with place.started() as store:
        await until_rejected(store, "gate_counts")
        await eventually(lambda: store.current is not None)
        assert store.current
        assert store.current.version == version(GOOD_FILE)


async def test_a_quarantined_model_is_nothing_to_compare_with(place: Place) -> None:
    """After a restart, it does not keep another model out, though it was the last one to be served."""
    async with place.serving(GOOD_FILE) as store:
        store.live.admission.verdicts.quarantine(version(GOOD_FILE))
    place.gate_policy = only("counts", "block")
    put(place.path, BAD_FILES["counts"])
    async with place.started() as store:
        await until_served(store, version(BAD_FILES["counts"]))


async def test_a_stopgap_is_compared_with_nothing(place: Place, tmp_path: Path) -> None:
    """A model of popularity alone, served because there is no other, does not keep a smaller one out."""
    place.gate_policy = GatePolicy(dict.fromkeys(GATES, "block"))
    stopgap = tmp_path / "popular.npz"
    stopgap.write_bytes(popularity_bytes())
    async with place.started() as store:
        store.stand_in(stopgap)
        await eventually(lambda: store.state == "limited")
        put(place.path, BAD_FILES["counts"])
        await until_served(store, version(BAD_FILES["counts"]))


@pytest.mark.parametrize("line", ["{", None])
async def test_a_bad_file_of_golden_requests_blocks(place: Place, golden: Path, line: str | None) -> None:
    """One sentence says why; once the file is good, the next model is let in."""
    async with place.serving(GOOD_FILE):
        pass
    place.gate_policy = only("golden", "block", golden)
    place_golden(golden, line)
    async with place.serving(GOOD_FILE) as store:
        put(place.path, BETTER_FILE)
        await until_rejected(store, "gate_golden")
        assert store.last_reload
        assert str(golden) in store.last_reload.detail
        assert store.last_reload.gates[0].value is None
        place_golden(golden, '{"user": 3}')
        put(place.path, BAD_FILES["scores"])
        await until_served(store, version(BAD_FILES["scores"]))


async def test_several_gates_that_block_are_all_named(place: Place) -> None:
    """The reason is that of the first."""
    place.gate_policy = GatePolicy(dict.fromkeys(GATES, "block"))
    async with place.serving(GOOD_FILE) as store:
        put(place.path, content(user_ids=GOOD.user_ids[:2], user_factors=np.zeros((2, 4), np.float32)))
        await until_rejected(store, "gate_counts")
        assert store.last_reload
        blocked = [found for found in store.last_reload.gates if found.result == "blocked"]
        assert [found.gate for found in blocked][:2] == ["counts", "factors"]
        assert all(found.detail in store.last_reload.detail for found in blocked)


@pytest.mark.parametrize("keep", [1, 2])
async def test_blocked_models_do_not_push_out_good_ones(place: Place, keep: int) -> None:
    """Of those that were blocked, the last stays on the shelf, so accepting it needs no import; the served one, too."""
    place.shelf = replace(place.shelf, keep=keep)
    place.gate_policy = only("counts", "block")

    def kept() -> list[str]:
        return sorted(place.shelf.versions())

    async with place.serving(GOOD_FILE) as store:
        for seed in range(4):
            small = make_factors(users=3 + seed, items=60, pairs=None, seed=seed)
            refused = put(place.path, model_bytes(factors=small))
            await eventually(_last_is(store, refused))
        await eventually(lambda: kept() == sorted([version(GOOD_FILE), refused]))


def _last_is(store: Store, refused: str) -> Callable[[], object]:
    return lambda: store.last_reload and store.last_reload.version == refused


def test_every_gate_has_its_metrics() -> None:
    """With each result, from the start."""
    metrics = Metrics(CollectorRegistry())
    for gate in GATES:
        for result in ("passed", "warned", "blocked", "accepted"):
            labels = {"gate": gate, "result": result}
            assert metrics.registry.get_sample_value("als_gate_results_total", labels) == 0
