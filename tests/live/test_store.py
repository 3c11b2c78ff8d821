"""The store: one reload at a time, the newest file wins, and a bad file never replaces a good model."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from service.live import models, reloader
from service.model.scoring import scoring
from service.model.storage import snapshot
from service.model.storage.shelf import Shelf
from service.model.storage.snapshot import FORMAT_VERSION
from tests.support.helpers import (
    Place,
    events,
    eventually,
    held_back,
    metric,
    model_bytes,
    put,
    rejected,
    rejections,
    until_served,
    version,
)

ONE, TWO, THREE = model_bytes(1), model_bytes(2), model_bytes(3)


async def test_a_later_model_is_told_in_one_line(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """A swap, and a swap to a model that was served before."""
    caplog.set_level("INFO")
    async with place.serving(ONE) as store:
        caplog.clear()
        put(place.path, TWO)
        await until_served(store, version(TWO))
        put(place.path, ONE)
        await until_served(store, version(ONE))
        await eventually(lambda: len(events(caplog)) == 3)
    assert events(caplog) == ["swapped", "reused", "swapped"]
    assert f"🔁 Now serving model {version(TWO)}" in caplog.text


async def test_a_swap_shows_everywhere(place: Place) -> None:
    """The record, the times, the history and the metrics of the served model, and of no other."""
    async with place.serving(ONE) as store:
        first_loaded = store.loaded_at
        put(place.path, TWO)
        await until_served(store, version(TWO))
        last = store.last_reload
        assert last
        assert store.loaded_at
        assert store.current
        assert (last.outcome, last.reason, last.detail, last.version) == ("swapped", "", "", version(TWO))
        assert last.finished_at >= store.loaded_at
        assert [(served.version, served.loaded_at) for served in store.history] == [(version(ONE), first_loaded)]
        phases = {"verify", "read", "validate", "arrange", "analyse", "write", "open", "warm", "swap"}
        assert set(store.load_seconds) == set(last.seconds) == phases
        assert metric(store, "als_model_info", version=version(ONE), format="npz") is None
        assert metric(store, "als_model_info", version=version(TWO), format="npz") == 1
        assert metric(store, "als_model_ready") == 1
        assert metric(store, "als_model_users") == 20
        assert metric(store, "als_model_items") == 30
        assert metric(store, "als_model_factors") == 4
        assert metric(store, "als_model_source_bytes") == len(TWO)
        assert metric(store, "als_model_snapshot_bytes") == store.current.manifest.bytes
        assert metric(store, "als_model_loaded_timestamp_seconds") == store.loaded_at.timestamp()
        assert metric(store, "als_model_load_seconds", phase="read") == last.seconds["read"]
        best = store.current.manifest.scores.recommendation.max
        assert metric(store, "als_model_score", kind="recommendation", statistic="max") == best
        assert metric(store, "als_model_reloads_total", outcome="swapped", reason="") == 2
        finished = last.finished_at.timestamp()
        assert metric(store, "als_model_last_reload_timestamp_seconds") == finished
        assert metric(store, "als_model_last_reload_success_timestamp_seconds") == finished


async def test_a_rejection_shows_everywhere(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """The good model is still served; the reason is counted, logged and shown with a hint."""
    async with place.serving(ONE) as store:
        success = metric(store, "als_model_last_reload_success_timestamp_seconds")
        served = store.current
        bad = put(place.path, b"<html>502</html>")
        await eventually(lambda: rejected(store, "unknown_format"))
        last = store.last_reload
        assert last
        assert last.version == bad
        assert "looks like an HTML page" in last.detail
        assert (store.current, store.state, store.history) == (served, "stale", [])
        assert metric(store, "als_model_ready") == 1
        assert metric(store, "als_model_stale") == 1
        assert metric(store, "als_model_last_reload_timestamp_seconds") == last.finished_at.timestamp()
        assert metric(store, "als_model_last_reload_success_timestamp_seconds") == success
        await eventually(lambda: len(caplog.messages) == 3)
    assert caplog.messages == [
        f"❌ {last.detail}",
        "💡 The model file may be corrupted or incompatible",
        f"🛡️ Still serving model {version(ONE)}",
    ]


async def test_a_rejected_file_is_not_imported_again(place: Place, imports: list[str]) -> None:
    """However often it is asked for, until the file is another one."""
    async with place.serving(ONE) as store:
        bad = put(place.path, b"bad")
        await eventually(lambda: rejected(store, "unknown_format"))
        for _ in range(5):
            store.request_reload()
            await eventually(lambda: store.is_idle)
        assert imports == [version(ONE), bad]
        assert rejections(store) == 1
        put(place.path, TWO)
        await until_served(store, version(TWO))


async def test_a_storm_of_requests_is_one_more_look(
    place: Place, imports: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests during an import are coalesced: one import at a time, and the newest file wins."""
    async with place.serving(ONE, watched=False) as store:
        waits, go = held_back(tmp_path, monkeypatch)
        put(place.path, TWO)
        store.request_reload()
        await eventually(waits.exists)
        for content in (THREE, ONE, THREE):
            put(place.path, content)
            for _ in range(100):
                store.request_reload()
            await asyncio.sleep(0)
        go.touch()
        await until_served(store, version(THREE))
        assert imports == [version(ONE), version(TWO), version(THREE)]


async def test_a_change_during_a_load_needs_no_request(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After every reload the path is looked at once more."""
    async with place.serving(ONE, watched=False) as store:
        warm = snapshot.warm

        def replace_meanwhile(opened: snapshot.Snapshot) -> None:
            if opened.version == version(TWO):
                put(place.path, THREE)
            warm(opened)

        monkeypatch.setattr(snapshot, "warm", replace_meanwhile)
        put(place.path, TWO)
        store.request_reload()
        await until_served(store, version(THREE))
        assert [served.version for served in store.history] == [version(TWO), version(ONE)]


async def test_a_request_finishes_on_the_snapshot_it_took(place: Place) -> None:
    """A swap during a slow request: the old snapshot answers as before, though its directory is gone."""
    place.shelf = Shelf(place.shelf.root, keep=1)
    async with place.serving(ONE) as store:
        taken = store.current
        assert taken
        before = scoring.recommend(taken.model, 3, 10).rows.tolist()
        put(place.path, TWO)
        await until_served(store, version(TWO))
        await eventually(lambda: not taken.directory.exists())
        assert taken.version == version(ONE)
        assert scoring.recommend(taken.model, 3, 10).rows.tolist() == before


def footprint() -> tuple[int, int, int, int]:
    """Return how many files, threads, mappings and megabytes this process holds."""
    gc.collect()
    megabytes = psutil.Process().memory_info().rss // 2**20
    mappings = Path("/proc/self/maps").read_text().count("\n")
    return len(os.listdir("/proc/self/fd")), threading.active_count(), mappings, megabytes  # noqa: PTH208 - this lists itself too


async def test_two_hundred_swaps_leave_nothing_behind(place: Place) -> None:
    """After 200 swaps there are as many files, threads, mappings and megabytes as before; nothing is imported again."""
    async with place.serving(ONE) as store:

        async def swap(times: int) -> None:
            for turn in range(times):
                content = (TWO, ONE)[turn % 2]
                put(place.path, content)
                await until_served(store, version(content))

        await swap(20)
        await eventually(lambda: place.is_clean)
        before = footprint()
        await swap(200)
        for now, then, slack in zip(footprint(), before, (2, 2, 20, 8), strict=True):
            assert now <= then + slack
        assert len(store.history) == 10
        assert [served.version for served in store.history[:2]] == [version(TWO), version(ONE)]


async def test_a_deleted_file_needs_no_hint(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """While a model is served, a missing file is not an emergency."""
    async with place.serving(ONE) as store:
        place.path.unlink()
        await eventually(lambda: rejected(store, "file_missing"))
        await eventually(lambda: events(caplog) == ["file_missing", "still_serving"])


async def test_the_source_is_where_the_bytes_came_from_this_time(place: Place) -> None:
    """A model imported earlier under another name is described by the file now at the path."""
    async with place.serving(ONE):
        pass
    place.path = place.path.with_name("another.npz")
    async with place.serving(ONE) as store:
        assert store.current
        assert store.current.manifest.source.path == str(place.path)


async def test_what_cannot_be_tidied_is_only_told(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure to remove old snapshots costs no model."""

    def broken(_: Shelf) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Shelf, "tidy", broken)
    async with place.serving(ONE):
        await eventually(lambda: "Read-only file system" in caplog.text)


async def test_old_snapshots_are_removed(place: Place) -> None:
    """As many as asked for stay on disk, the served one among them."""
    place.shelf = replace(place.shelf, keep=2)
    async with place.serving(ONE) as store:
        for content in (TWO, THREE):
            put(place.path, content)
            await until_served(store, version(content))
        kept = {f"{FORMAT_VERSION}-{version(TWO)}", f"{FORMAT_VERSION}-{version(THREE)}"}
        await eventually(lambda: {found.name for found in place.shelf.root.iterdir()} == kept)


async def test_the_loop_is_never_held_by_the_disk(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that touches a file or unmaps one runs in a thread."""
    loop_thread = threading.get_ident()

    def off_the_loop(function: Callable[..., object]) -> Callable[..., object]:
        def checked(*arguments: object, **options: object) -> object:
            assert threading.get_ident() != loop_thread, function
            return function(*arguments, **options)

        return checked

    for module, name in ((reloader, "look"), (reloader, "identify"), (models, "format_of")):
        monkeypatch.setattr(module, name, off_the_loop(getattr(module, name)))
    for name in ("find", "last_used", "tidy", "_stage"):
        monkeypatch.setattr(Shelf, name, off_the_loop(getattr(Shelf, name)))
    for name in ("warm", "publish"):
        monkeypatch.setattr(snapshot, name, off_the_loop(getattr(snapshot, name)))
    async with place.started() as store:
        await eventually(lambda: rejected(store, "file_missing"))
        put(place.path, ONE)
        await until_served(store, version(ONE))
        assert rejections(store) == 1
