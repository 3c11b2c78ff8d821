"""The server's side of a training for want of a model, where the process that trains goes wrong."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from service.errors import SourceChangedError, StateDirectoryError
from service.live import preparing
from service.live import store as stores
from service.live.child import ImportLimits, import_in_child
from service.live.trainer import FallbackTrainer
from service.model.storage.shelf import Shelf
from service.model.storage.source import Source, identify
from service.settings import child_environment
from tests.helpers import (
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
from tests.interactions import write_interactions

MODEL = model_bytes(1)


async def test_a_process_that_cannot_be_started(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """That is a failed training like any other: said, counted, and the server goes on."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    async with place.started() as store:
        data = write_interactions(tmp_path / "data.csv")
        trainer = FallbackTrainer(store, data, tmp_path / "state", child_environment(), metrics_of(store))
        async with at_work(trainer.run()):
            await eventually(lambda: "no_functions" in events(caplog))
        assert store.training is not None
        assert store.training.outcome == "failed"
        assert store.training.detail == "The training process could not be started: No such file or directory."
        assert store.state == "loading"
        assert metric(store, "als_trainings_total", outcome="failed") == 1


async def test_a_stand_in_has_to_be_good(place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It takes the same road as any file; what is no model is refused, and a file at the path is awaited."""
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
    monkeypatch.setattr(stores, "_STATE_DIRECTORY_RETRY_SECONDS", 0.02)
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

    def touched(path: Path) -> Source:
        looked.append(ended.done())
        if len(looked) == 1:
            raise SourceChangedError("It changed while it was being read.")
        return identify(path)

    monkeypatch.setattr("service.live.store.identify", touched)
    store = place.store()
    put(place.path, MODEL)
    ended = asyncio.create_task(store.look())
    async with at_work(store.run()):
        await ended
        assert store.current is not None
    assert looked == [False, False]
