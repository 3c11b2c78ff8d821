"""A candidate next to the served model: loaded from its own file, steered by three hands, paired with one policy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from service.errors import StateDirectoryError
from service.live.candidate import keep_candidate
from service.live.generation import Generation, Slot, snapshots_of
from service.live.preparing import Preparation
from service.live.reading import Reading
from service.live.reloader import Reloader
from service.live.steering import Steering
from service.model.catalog.id_list import IdList
from service.model.rollout.arms import Experiment
from service.model.storage.shelf import Shelf
from service.model.storage.snapshot import Snapshot
from service.observe.metrics import Metrics
from tests.support.helpers import Place, at_work, events, eventually, model_bytes, put, version
from tests.support.models import make_factors
from tests.support.serving import make_snapshot

ONE, TWO = model_bytes(1), model_bytes(2)
NUMBERED = replace(make_factors(), user_ids=np.arange(40), item_ids=np.arange(60))
SERVED, OTHER = make_snapshot(NUMBERED, "served"), make_snapshot(NUMBERED, "other")
HALF = Experiment("default", 50)


class Trial:
    """A slot with a served model, and what keeps a candidate next to it."""

    def __init__(self, place: Place, directory: Path) -> None:
        self.path = directory / "candidate.npz"
        self.shelf = Shelf(directory / "state" / "candidates", keep=2)
        self.slot = Slot(Metrics(CollectorRegistry()), experiment=HALF)
        self.reloader: Reloader[Snapshot] = keep_candidate(
            self.path, self.slot, Preparation(self.shelf, place.limits), place.settle_seconds
        )

    @property
    def version(self) -> str | None:
        """Return the candidate's version."""
        return self.slot.candidate.version if self.slot.candidate else None

    def metric(self, name: str, **labels: str) -> float | None:
        """Return one sample as a scrape would."""
        return self.slot.metrics.registry.get_sample_value(name, labels)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve a model, and keep the candidate, for the time of a block."""
        await serve(self.slot, SERVED)
        async with at_work(self.reloader.run()):
            yield


@pytest.fixture
def trial(place: Place, tmp_path: Path) -> Trial:
    """Return a trial that has not begun."""
    return Trial(place, tmp_path)


async def serve(slot: Slot, snapshot: Snapshot) -> None:
    """Serve a model."""
    slot.serve(await slot.offer(snapshot), Reading("a file"))


async def try_out(slot: Slot, snapshot: Snapshot) -> None:
    """Make a model the candidate."""
    slot.try_out(await slot.offer(snapshot), Reading("a file"))


def arms(generation: Generation | None, users: int = 40) -> list[str]:
    """Return the arm of each user, each from the generation that they get."""
    assert generation
    return [generation.of(user).arm for user in range(users)]


async def test_a_file_becomes_the_candidate(trial: Trial, caplog: pytest.LogCaptureFixture) -> None:
    """Its users get it, the others the served model; another file replaces it."""
    caplog.set_level("INFO")
    put(trial.path, ONE)
    async with trial.running():
        await eventually(lambda: trial.version == version(ONE))
        taken = trial.slot.current
        assert taken
        assert {taken.of(user).version for user in range(40)} == {SERVED.version, version(ONE)}
        assert arms(taken) == [HALF.arm_of(user) for user in range(40)]
        assert trial.metric("als_candidate_info", version=version(ONE)) == 1
        assert trial.metric("als_candidate_percent") == 50
        put(trial.path, TWO)
        trial.reloader.request()
        await eventually(lambda: trial.version == version(TWO))
        assert trial.metric("als_candidate_info", version=version(ONE)) is None
        await eventually(lambda: events(caplog).count("candidate") == 2)
    assert arms(taken) == arms(trial.slot.current)
    assert {taken.of(user).version for user in range(40)} == {SERVED.version, version(ONE)}  # it never changes
    assert trial.metric("als_candidate_reloads_total", outcome="swapped") == 2


async def test_a_bad_file_changes_nothing(trial: Trial, caplog: pytest.LogCaptureFixture) -> None:
    """The last good candidate stays, and the log says why."""
    put(trial.path, ONE)
    async with trial.running():
        await eventually(lambda: trial.version == version(ONE))
        put(trial.path, b"not a model")
        trial.reloader.request()
        await eventually(lambda: "candidate_rejected" in events(caplog))
        assert trial.version == version(ONE)
    assert trial.metric("als_candidate_reloads_total", outcome="rejected") == 1
    assert trial.reloader.history[0].outcome == "rejected"


async def test_a_lost_candidate_is_imported_again(trial: Trial) -> None:
    """From its file, once it is looked at again, so that workers and a restart can open it."""
    put(trial.path, ONE)
    async with trial.running():
        await eventually(lambda: trial.version == version(ONE))
        trial.shelf.discard(trial.shelf.kept()[version(ONE)])
        trial.reloader.retry()
        await eventually(lambda: len(trial.reloader.history) == 2)
        assert [reload.outcome for reload in trial.reloader.history] == ["swapped", "swapped"]
        assert trial.shelf.last_used() is not None


async def test_without_its_file_there_is_no_candidate(trial: Trial, caplog: pytest.LogCaptureFixture) -> None:
    """All users get the served model again, and its memory is free."""
    caplog.set_level("INFO")
    async with trial.running():
        await eventually(lambda: trial.reloader.last)
        assert trial.version is None
        put(trial.path, ONE)
        trial.reloader.request()
        await eventually(lambda: trial.version == version(ONE))
        trial.path.unlink()
        trial.reloader.request()
        await eventually(lambda: "candidate_gone" in events(caplog))
        assert set(arms(trial.slot.current)) == {"served"}
        assert trial.slot.current
        assert trial.slot.current.candidate is None
        await eventually(lambda: trial.metric("als_model_snapshots_held") == 0)
    assert trial.metric("als_candidate_percent") == 0
    assert trial.metric("als_candidate_reloads_total", outcome="rejected") == 0


async def test_users_keep_the_candidate_through_a_restart(
    trial: Trial, place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is back before its file has been checked, unless that is gone."""
    caplog.set_level("INFO")
    put(trial.path, ONE)
    async with trial.running():
        await eventually(lambda: "candidate" in events(caplog))
    again = Trial(place, tmp_path)
    loader = again.reloader._loader
    await loader.begin()
    assert again.version == version(ONE)
    async with again.running():
        await eventually(lambda: again.reloader.last)
        assert again.reloader.history[0].outcome == "unchanged"
    again.path.unlink()
    without = Trial(place, tmp_path)
    await without.reloader._loader.begin()
    assert without.version is None


async def test_a_disk_that_cannot_be_cleaned_up_changes_nothing(
    trial: Trial, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The candidate is there all the same, and the log says what failed."""

    def broken(_: Shelf) -> None:
        raise OSError("read-only")

    monkeypatch.setattr(Shelf, "tidy", broken)
    put(trial.path, ONE)
    async with trial.running():
        await eventually(lambda: trial.version == version(ONE))
        await eventually(lambda: "housekeeping_failed" in events(caplog))


async def test_both_models_obey_one_policy() -> None:
    """What may not be shown is in answers of neither arm; whichever of them comes later, or the policy does."""
    slot = Slot(Metrics(CollectorRegistry()), experiment=HALF)
    await serve(slot, SERVED)
    await try_out(slot, OTHER)
    hidden = IdList(np.array([b"3"]))
    slot.obey(await slot.offer(change=lambda policy: policy.having("hidden_users", hidden)))

    def both() -> list[int]:
        assert slot.current
        assert slot.current.candidate
        arms = slot.current, slot.current.candidate.generation
        assert len({arm.number for arm in arms}) == 2
        return [arm.assortment.hidden_users for arm in arms]

    assert both() == [1, 1]
    await try_out(slot, SERVED)
    assert both() == [1, 1]
    await serve(slot, OTHER)
    assert both() == [1, 1]


async def test_a_candidate_waits_for_a_served_model() -> None:
    """It alone answers nobody; once a model is served, they are a pair, and each change has a number of its own."""
    slot = Slot(Metrics(CollectorRegistry()), experiment=HALF)
    await try_out(slot, OTHER)
    assert slot.current is None
    await serve(slot, SERVED)
    assert slot.current
    assert slot.current.candidate
    numbers = [slot.current.number]
    slot.run_experiment(Experiment("default", 60))
    numbers.append(slot.current.number)
    slot.mark(stale=True)
    assert slot.current.candidate.experiment.percent == 60
    assert slot.end_trial() is not None
    numbers.append(slot.current.number)
    assert len({*numbers}) == 3
    assert snapshots_of(slot.current) == [SERVED]


def steering(directory: Path, settings: Experiment = HALF) -> tuple[Steering, Slot]:
    """Return what steers the candidate of a slot, as after a start."""
    slot = Slot(Metrics(CollectorRegistry()))
    return Steering(slot, settings, directory), slot


async def test_s3_wins_over_the_admin_api_and_that_over_the_settings(tmp_path: Path) -> None:
    """Each says a percentage or nothing; what is in force is the same after a restart."""
    steers, slot = steering(tmp_path)
    assert slot.experiment == HALF
    assert await steers.set_by_admin(20) == slot.experiment == Experiment("default", 20)
    assert await steers.set_by_s3(30, 0.5) == slot.experiment == Experiment("default", 30, 0.5)
    assert (await steers.set_by_admin(40)).percent == 30
    assert steering(tmp_path)[1].experiment == slot.experiment
    assert await steers.set_by_s3(None) == Experiment("default", 40)
    assert await steers.set_by_admin(None) == HALF
    assert steering(tmp_path)[1].experiment == HALF


async def test_s3_counts_only_while_it_is_followed(tmp_path: Path) -> None:
    """After a start without it, the administrator's percentage is in force, else the settings'."""
    steers, _ = steering(tmp_path)
    await steers.set_by_s3(30, 0.5)
    steers, slot = steering(tmp_path)
    steers.forget_s3()
    assert slot.experiment == HALF
    assert await steers.set_by_admin(20) == slot.experiment == Experiment("default", 20)
    assert steering(tmp_path)[1].experiment == slot.experiment


async def test_a_change_of_the_percentage_counts_at_once(tmp_path: Path) -> None:
    """The next request has the new arm, without a reload."""
    steers, slot = steering(tmp_path)
    await serve(slot, SERVED)
    await try_out(slot, OTHER)
    await steers.set_by_admin(100)
    assert set(arms(slot.current)) == {"candidate"}
    await steers.set_by_admin(0)
    assert set(arms(slot.current)) == {"served"}
    assert slot.current
    assert slot.current.shown_arm == "served"


async def test_what_cannot_be_remembered_is_not_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An administrator hears of it; S3 is followed all the same, for it says it again."""
    (tmp_path / "file").touch()
    steers, slot = steering(tmp_path / "file" / "state")
    with pytest.raises(StateDirectoryError, match="cannot be used"):
        await steers.set_by_admin(20)
    assert slot.experiment == HALF
    assert (await steers.set_by_s3(20)).percent == 20
    assert "housekeeping_failed" in events(caplog)


@pytest.mark.parametrize("content", [b"{", b'{"admin": 101}', b"\xff", b'{"admin": "10"}'])
def test_a_damaged_note_is_none(tmp_path: Path, content: bytes) -> None:
    """Then the settings count."""
    (tmp_path / "experiment.json").write_bytes(content)
    assert steering(tmp_path)[1].experiment == HALF


async def test_changes_do_not_get_lost(tmp_path: Path) -> None:
    """Models, candidates, percentages and lists that come at once are all in force in the end."""
    steers, slot = steering(tmp_path)
    hidden = IdList(np.array([b"3"]))

    async def hide() -> None:
        slot.obey(await slot.offer(change=lambda policy: policy.having("hidden_users", hidden)))

    await asyncio.gather(serve(slot, SERVED), try_out(slot, OTHER), hide(), steers.set_by_admin(77))
    assert slot.current
    assert slot.current.candidate
    assert slot.current.candidate.experiment.percent == 77
    assert slot.current.assortment.hidden_users == slot.current.candidate.generation.assortment.hidden_users == 1
    assert msgspec.json.decode((tmp_path / "experiment.json").read_bytes())["admin"] == 77
