"""The server's side of a training for want of a model, where the process that trains goes wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from service.live.trainer import FallbackTrainer
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
        await store.looked.wait()
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
