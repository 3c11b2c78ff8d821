"""The server's side of the fallback training, when the training process fails."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from service.children.jobs import Failed, Remark, SkippedRows
from service.environment import child_environment
from service.errors import SourceChangedError, StateDirectoryError
from service.live import preparing
from service.live import reloader as stores
from service.live.fallback_training import FallbackTrainer
from service.live.importing import ImportLimits, import_in_child
from service.model.storage.shelf import Shelf
from service.model.storage.source import Source, identify
from tests.support.helpers import (
    Place,
    at_work,
    events,
    eventually,
    metric,
    metrics_of,
    model_bytes,
    put,
    until_served,
    version,
)
from tests.support.interactions import write_interactions
from tests.support.stores import Store

pytestmark = pytest.mark.usefixtures("children_are_measured")

MODEL = model_bytes(1)


@asynccontextmanager
async def failed(place: Place, directory: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Store]:
    """Start a server whose training fails, and provide its store afterwards."""
    async with place.started() as store:
        data = write_interactions(directory / "data.csv")
        trainer = FallbackTrainer(store.live, data, directory / "state", child_environment(), metrics_of(store))
        async with at_work(trainer.run()):
            await eventually(lambda: "no_functions" in events(caplog))
        yield store


async def test_a_process_that_cannot_be_started(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """That is a failed training like any other: reported, counted, and the server continues."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    async with failed(place, tmp_path, caplog) as store:
        assert store.training is not None
        assert store.training.outcome == "failed"
        assert store.training.detail == "The training process could not be started: No such file or directory."
        assert store.state == "loading"
        assert metric(store, "als_trainings_total", outcome="failed") == 1


async def test_what_a_process_says_of_the_data_is_logged(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows that were left out, remarks, and why it failed."""
    said = [SkippedRows(3, "data.csv, line 2: no item"), Remark("1 file was passed over"), Failed("No row is left.")]
    stand_in = tmp_path / "python"
    stand_in.write_text("#!/bin/sh\n" + "".join(f"echo '{msgspec.json.encode(one).decode()}'\n" for one in said))
    stand_in.chmod(0o755)
    caplog.set_level("INFO")
    monkeypatch.setattr(sys, "executable", str(stand_in))
    async with failed(place, tmp_path, caplog) as store:
        assert store.training is not None
        assert store.training.detail == "No row is left."
    assert {"skipped_rows", "training_data"} <= set(events(caplog))


@asynccontextmanager
async def trained(place: Place, data: Path) -> AsyncIterator[Store]:
    """Have a model trained for a store that has none, to the end."""
    async with place.started() as store:
        trainer = FallbackTrainer(store.live, data, place.shelf.root.parent, child_environment(), metrics_of(store))
        async with at_work(trainer.run()):
            await eventually(lambda: store.training and store.training.outcome != "running", 30)
            yield store


@pytest.mark.parametrize("relation", ["empty", "taken", "not there"])
async def test_where_the_model_goes(
    place: Place, tmp_path: Path, relation: str, caplog: pytest.LogCaptureFixture
) -> None:
    """To the path if it is free, else beside it, else to the state directory; it is the server's, for all to read."""
    caplog.set_level("INFO", "als_serve")
    beside, spare = place.path.with_name("model.trained.npz"), place.shelf.root.parent / "trained.npz"
    wanted, detail = place.path, None
    if relation == "taken":
        put(place.path, b"no model")
        wanted, detail = beside, f"{place.path} already exists and was not overwritten."
    if relation == "not there":
        place.path.parent.rmdir()
        wanted, detail = spare, f"The model cannot be written to {place.path}: No such file or directory."
    async with trained(place, write_interactions(tmp_path / "data.csv")) as store:
        await until_good(store)
        (told,) = (record for record in caplog.records if getattr(record, "event", "") == "trained")
        assert told.__dict__["facts"]["path"] == str(wanted)
        elsewhere = [record for record in caplog.records if getattr(record, "event", "") == "trained_elsewhere"]
        assert [record.__dict__["facts"]["detail"] for record in elsewhere] == ([detail] if detail else [])
        assert (wanted.stat().st_uid, wanted.stat().st_mode & 0o777) == (os.geteuid(), 0o644)


async def test_nowhere_to_put_the_model(place: Place, tmp_path: Path) -> None:
    """That is a failure, said in a sentence."""
    place.path.parent.rmdir()
    (place.shelf.root.parent / "trained.npz").mkdir(parents=True)
    async with trained(place, write_interactions(tmp_path / "data.csv")) as store:
        assert store.training
        spare = place.shelf.root.parent / "trained.npz"
        assert store.training.detail == f"The model cannot be written to {spare}: Is a directory."


async def test_a_state_directory_that_cannot_be_used(place: Place, tmp_path: Path) -> None:
    """Nothing can be trained without it, and the sentence names the setting."""
    place.shelf.root.parent.write_text("in the way")
    async with trained(place, write_interactions(tmp_path / "data.csv")) as store:
        assert store.training
        assert "set ALS_STATE_DIR" in store.training.detail


@pytest.mark.parametrize("ends", ["stopped", "trained"])
async def test_what_was_trained_may_be_served_before_its_training_has_ended(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, ends: str
) -> None:
    """A model that arrives while one is being saved is taken for that one; whenever a stop comes, it is heard."""
    caplog.set_level("INFO", "als_serve")
    go_on, save = threading.Event(), FallbackTrainer._save

    def slow(*given: Any) -> Any:
        saved = save(*given)
        go_on.wait(30)
        return saved

    monkeypatch.setattr(FallbackTrainer, "_save", slow)
    async with place.started() as store:
        data = write_interactions(tmp_path / "data.csv")
        trainer = FallbackTrainer(store.live, data, place.shelf.root.parent, child_environment(), metrics_of(store))
        async with at_work(trainer.run()):
            await until_good(store)
            await eventually(lambda: "initialized_trained" in events(caplog))
            assert store.training
            assert store.training.outcome == "running"
            if ends == "trained":
                go_on.set()
                await eventually(lambda: "trained" in events(caplog))
        go_on.set()
    assert "training_stopped" not in events(caplog)


async def until_good(store: Store) -> None:
    """Return once a store serves a model with factors."""
    async with asyncio.timeout(30):
        await store.good.wait()


async def test_a_stand_in_has_to_be_good(place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An offered file is imported like any other; a bad one is rejected, and a file at the path is awaited."""
    put(tmp_path / "stand-in", b"no model")
    async with place.started() as store:
        await store.look()
        store.stand_in(tmp_path / "stand-in")
        await eventually(lambda: "rejected" in events(caplog))
        assert store.current is None
        await until_served(store, put(place.path, MODEL))


async def test_a_stand_in_comes_after_a_good_model(place: Place, tmp_path: Path) -> None:
    """Once a good model is served, nothing else takes its place."""
    put(tmp_path / "stand-in", model_bytes(2))
    async with place.serving(MODEL) as store:
        store.stand_in(tmp_path / "stand-in")
        await until_served(store, put(place.path, model_bytes(3)))
        assert [earlier.version for earlier in store.history] == [version(MODEL)]


async def test_a_full_state_directory_is_no_fault_of_a_stand_in(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried again, as a file at the path would be, and the next in line does not take its place."""
    stand_in = put(tmp_path / "stand-in", MODEL)
    full = True

    async def import_unless_full(source: Source, shelf: Shelf, limits: ImportLimits) -> None:
        if full:
            raise StateDirectoryError("No space.")
        await import_in_child(source, shelf, limits)

    monkeypatch.setattr(preparing, "import_in_child", import_unless_full)
    monkeypatch.setattr(stores, "STATE_DIRECTORY_RETRY_SECONDS", 0.02)
    async with place.started() as store:
        await store.look()
        store.stand_in(tmp_path / "stand-in", tmp_path / "nothing")
        await eventually(lambda: events(caplog).count("rejected") > 1)
        full = False
        await eventually(lambda: store.state == "stale")
        assert store.current is not None
        assert store.current.version == stand_in


async def test_a_file_that_changes_while_it_is_read_is_not_trained_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy in progress at the start may well be a good model: nobody has looked at it to the end yet."""
    looked: list[bool] = []

    def touched(path: Path, *_: object, **__: object) -> Source:
        looked.append(ended.done())
        if len(looked) == 1:
            raise SourceChangedError("It changed while it was being read.")
        return identify(path)

    monkeypatch.setattr("service.live.reloader.identify", touched)
    store = place.store()
    put(place.path, MODEL)
    ended = asyncio.create_task(store.look())
    async with at_work(store.run()):
        await ended
        assert store.current is not None
    assert looked == [False, False]
