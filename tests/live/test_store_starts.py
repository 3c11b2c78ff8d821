"""The start of a store: with a good file, a bad one, none, an earlier import, and after an internal error."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from service.errors import SnapshotDamagedError, SourceMissingError, UnknownFormatError
from service.model.storage import snapshot
from service.model.storage.shelf import Shelf
from tests.support.helpers import (
    Place,
    at_work,
    events,
    eventually,
    held_back,
    metric,
    model_bytes,
    put,
    rejected,
    serves,
    until_served,
    version,
)

ONE, TWO, THREE = model_bytes(1), model_bytes(2), model_bytes(3)


async def test_the_first_load_is_told_step_by_step(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """The console shows the steps that operators know: found, verified, loaded, counted, analysed."""
    caplog.set_level("INFO")
    async with place.serving(ONE):
        await eventually(lambda: "initialized" in events(caplog))
    assert caplog.messages[:10] == [
        "🚀 Initializing ML model...",
        f"✅ ALS model npz file found: {place.path} ({len(ONE)} bytes)",
        "📚 Loading pre-trained model (skipping training)",
        f"📚 Loading ALS model from: {place.path}",
        f"✅ Model file verified: {place.path} ({len(ONE)} bytes)",
        "✅ Loaded ALS model successfully",
        "📊 Model info: 20 users, 30 products",
        "📊 Model factors: 4 dimensions",
        "🔍 Analyzing ALS score ranges...",
        "✅ ALS score range analysis completed",
    ]
    assert events(caplog)[10:] == ["score_range"] * 3 + ["initialized"]


async def test_a_restart_opens_what_was_imported(place: Place, imports: list[str]) -> None:
    """The same file after a restart: opened by its digest, nothing is imported, ready at once."""
    async with place.serving(ONE):
        pass
    async with place.serving(ONE) as store:
        assert set(store.load_seconds) == {"verify", "open", "warm", "swap"}
    assert imports == [version(ONE)]


async def test_a_restart_serves_before_it_imports(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was served last is served at once, stale, while a file that is new is still being imported."""
    caplog.set_level("INFO")
    async with place.serving(ONE):
        pass
    put(place.path, TWO)
    waits, go = held_back(tmp_path, monkeypatch)
    async with place.started() as store:
        await eventually(waits.exists)
        assert store.current
        assert (store.current.version, store.state, store.last_reload) == (version(ONE), "stale", None)
        go.touch()
        await until_served(store, version(TWO))
        assert [served.version for served in store.slot.earlier] == [version(ONE)]
        await eventually(lambda: events(caplog).count("initialized") == 2)


async def test_a_restart_that_finds_the_same_file_is_one_start(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """The log is that of any start, and no version was served earlier."""
    async with place.serving(ONE):
        pass
    caplog.clear()
    caplog.set_level("INFO")
    async with place.serving(ONE) as store:
        await eventually(lambda: store.state == "ready")
        await eventually(lambda: "initialized" in events(caplog))
        assert store.slot.earlier == []
    assert events(caplog)[:4] == ["initializing", "resumed", "file_found", "skipping_training"]
    assert "stale" not in events(caplog)


async def test_another_model_path_is_another_start(place: Place) -> None:
    """What was served from one path is not served from another before that has been looked at."""
    async with place.serving(ONE):
        pass
    place.path = place.path.with_name("another.npz")
    put(place.path, TWO)
    async with place.started() as store:
        await until_served(store, version(TWO))
        assert store.slot.earlier == []


async def test_a_damaged_snapshot_is_imported_again(place: Place, imports: list[str]) -> None:
    """A snapshot cut short on disk is found when it is opened, removed and made anew."""
    async with place.serving(ONE) as store:
        assert store.current
        directory = store.current.directory
    os.truncate(directory / "item_factors.npy", 200)
    async with place.serving(ONE) as store:
        assert store.current
        snapshot.verify(store.current.directory)
    assert imports == [version(ONE)] * 2


async def test_a_lost_snapshot_of_the_served_model_is_imported_again(place: Place, imports: list[str]) -> None:
    """The next look notices that it is gone, although the file is the same, so that others can open it again."""
    async with place.serving(ONE) as store:
        assert store.current
        directory = store.current.directory
        place.shelf.discard(directory)
        os.utime(place.path)
        await eventually(directory.exists)
        await until_served(store, version(ONE))
        assert len(imports) == 2


async def test_two_stores_share_one_snapshot(place: Place) -> None:
    """Two processes of one state directory that see the same new file end with one directory, both serving."""
    async with place.serving(ONE) as one, place.started() as other:
        put(place.path, TWO)
        await eventually(lambda: serves(one, version(TWO)) and serves(other, version(TWO)))
        assert one.current
        assert other.current
        assert one.current.directory == other.current.directory
        await eventually(lambda: place.is_clean)
    assert len(list(place.shelf.root.iterdir())) == 2


@pytest.mark.parametrize("bad", [None, b"", b"bad", ONE[:1000]], ids=["missing", "empty", "no model", "cut short"])
async def test_a_bad_file_at_start_leaves_the_last_good_model(
    place: Place, bad: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """The snapshot used last is served, and everything says that it is stale; a good file ends that."""
    async with place.serving(ONE):
        pass
    if bad is None:
        place.path.unlink()
    else:
        put(place.path, bad)
    async with place.started() as store:
        await eventually(lambda: store.last_reload)
        assert store.current
        assert store.last_reload
        assert (store.current.version, store.state) == (version(ONE), "stale")
        assert store.last_reload.outcome == "rejected"
        assert metric(store, "als_model_ready") == 1
        assert metric(store, "als_model_stale") == 1
        assert metric(store, "als_model_last_reload_successful") == 0
        assert set(store.load_seconds) == {"open", "warm", "swap"}
        await eventually(lambda: "stale" in events(caplog))
        put(place.path, ONE)
        await until_served(store, version(ONE))
        assert metric(store, "als_model_reloads_total", outcome="unchanged", reason="") == 1
        put(place.path, TWO)
        await until_served(store, version(TWO))


async def test_with_no_file_and_no_snapshot_it_says_what_to_do(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Missing, and what it waits for; once, however often it looks."""
    caplog.set_level("INFO")
    async with place.started() as store:
        await eventually(lambda: "waiting" in events(caplog))
        store.request_reload()
        await eventually(lambda: store.is_idle)
    told = [event for event in events(caplog) if event != "file_missing_hint"]  # which depends on where this runs
    assert told == ["initializing", "file_missing", "waiting"]
    assert f"❌ Model file not found: {place.path}" in caplog.messages


async def test_a_fault_of_ours_is_counted_and_costs_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, imports: list[str]
) -> None:
    """An unexpected exception ends the run, counted; started again, the same file is not tried over and over."""

    def broken(_: snapshot.Snapshot) -> None:
        raise ZeroDivisionError("a bug")

    async with place.serving(ONE):
        pass
    store = place.store()
    put(place.path, TWO)
    with monkeypatch.context() as patched:
        patched.setattr(Shelf, "find", lambda *_: broken(None))  # type: ignore[arg-type] # never looked at
        with pytest.raises(ZeroDivisionError):
            await store.run()
    assert rejected(store, "internal_error")
    assert store.last_reload
    assert store.last_reload.detail == "Unexpected ZeroDivisionError; the log says more."
    assert store.current
    assert (store.current.version, store.state) == (version(ONE), "stale")
    async with at_work(store.run()):
        await eventually(lambda: store.is_idle)
        assert imports == [version(ONE)]
        put(place.path, THREE)
        store.request_reload()
        await until_served(store, version(THREE))


async def test_a_single_load_returns_what_is_served(place: Place) -> None:
    """For the command line: the file at the path, once, or the reason why not; a stale model does not count."""
    put(place.path, ONE)
    store = place.store()
    loaded = await store.load()
    assert loaded is store.current
    assert await store.load() is loaded
    assert serves(store, version(ONE))
    put(place.path, b"bad")
    with pytest.raises(UnknownFormatError, match="a model is a pickled dict or an npz archive"):
        await place.store().load()
    place.path.unlink()
    with pytest.raises(SourceMissingError):
        await place.store().load()


async def test_a_disk_that_loses_what_was_imported_is_said(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is rejected, with the sentence that says so."""
    put(place.path, ONE)
    monkeypatch.setattr(Shelf, "find", lambda *_: None)
    with pytest.raises(SnapshotDamagedError, match=r"/model\.npz was damaged as soon as it was written\.$"):
        await place.store().load()


async def test_a_single_load_reads_a_changing_file_again(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written over while it was read: read again, not refused."""
    put(place.path, ONE)
    waits, go = held_back(tmp_path, monkeypatch)
    loading = asyncio.create_task(place.store().load())
    await eventually(waits.exists)
    place.path.write_bytes(TWO)
    go.touch()
    assert (await loading).version == version(TWO)


async def test_a_store_needs_no_watcher_to_start(place: Place) -> None:
    """Alone, it loads what is there, and looks again when asked."""
    put(place.path, ONE)
    async with place.started(watched=False) as store:
        await until_served(store, version(ONE))
        put(place.path, TWO)
        store.request_reload()
        await until_served(store, version(TWO))
