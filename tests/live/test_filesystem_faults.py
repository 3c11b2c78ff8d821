"""The faults of a filesystem, on a real one: whatever happens to the file, the last good model is served."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import watchfiles

from service.live import watcher
from tests.support.helpers import (
    WATCH_SECONDS,
    Place,
    answer,
    at_work,
    counted_imports,
    eventually,
    finished,
    metric,
    model_bytes,
    mounted,
    need,
    put,
    rejected,
    serves,
    until_served,
    version,
)
from tests.support.stores import Store

ONE, TWO, THREE = model_bytes(1), model_bytes(2), model_bytes(3)
NO_EVENTS = 3600.0


async def test_of_a_thousand_renames_the_last_is_served(place: Place) -> None:
    """1000 atomic renames while requests are answered: no request finds nothing, and the last model is served."""
    expected: dict[str, list[int | str]] = {}

    async def ask(store: Store) -> None:
        while True:
            snapshot = store.current
            assert snapshot
            assert expected.setdefault(snapshot.version, answer(snapshot)) == answer(snapshot)
            await asyncio.sleep(0)

    async with place.serving(ONE) as store, at_work(ask(store)), at_work(ask(store)):
        for seed in range(1000):
            last = put(place.path, model_bytes(seed))
            await asyncio.sleep(0)
        await until_served(store, last, seconds=5)
    assert {version(ONE), last} <= expected.keys()


async def test_of_two_renames_in_one_go_the_last_wins(place: Place) -> None:
    """Two renames within a second, the second during the first one's import: the last wins."""
    async with place.serving(ONE) as store:
        put(place.path, TWO)
        put(place.path, THREE)
        await until_served(store, version(THREE))
        put(place.path, ONE)
        await until_served(store, version(ONE))


async def test_a_replacement_with_an_older_time_is_noticed(place: Place) -> None:
    """What cp -p, tar and a roll-back leave: another file that claims to be older."""
    async with place.serving(ONE) as store:
        older = place.path.with_name("older")
        older.write_bytes(TWO)
        os.utime(older, (1_000_000_000, 1_000_000_000))
        older.replace(place.path)
        await until_served(store, version(TWO))


async def test_a_replacement_of_the_same_size_and_time_is_noticed(place: Place) -> None:
    """A file of the same size whose time was set to the old one's differs in its inode."""
    content = bytearray(ONE)
    content[200] ^= 1  # of a factor, stored without compression, whose checksum no longer fits
    async with place.serving(ONE) as store:
        facts = place.path.stat()
        beside = place.path.with_name("beside")
        beside.write_bytes(content)
        os.utime(beside, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        beside.replace(place.path)
        await eventually(lambda: rejected(store, "file_corrupt"))


async def test_the_same_bytes_touched_are_no_swap(place: Place) -> None:
    """Touched or written again, the same bytes leave the same snapshot, and count as unchanged."""
    async with place.serving(ONE) as store:
        served = store.current
        place.path.touch()
        await eventually(lambda: metric(store, "als_model_reloads_total", outcome="unchanged", reason="") == 1)
        put(place.path, ONE)
        await eventually(lambda: metric(store, "als_model_reloads_total", outcome="unchanged", reason="") == 2)
        assert store.current is served
        assert not store.history
        assert metric(store, "als_model_last_reload_successful") == 1


async def test_a_slow_write_in_place_is_never_served_by_halves(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is rewritten in place, bit by bit, is not even read before it rests."""
    imports = counted_imports(monkeypatch)
    place.settle_seconds = 1.0
    async with place.serving(ONE) as store:
        with place.path.open("r+b", buffering=0) as file:
            for start in range(0, len(TWO), 100):
                file.write(TWO[start : start + 100])
                await asyncio.sleep(WATCH_SECONDS / 5)
                assert serves(store, version(ONE))
        await until_served(store, version(TWO))
        assert imports == [version(ONE), version(TWO)]


async def test_a_slow_write_of_the_first_file_is_never_served_by_halves(place: Place) -> None:
    """Where no model was before, a file that is still being written is read again until it is whole."""
    async with place.started() as store:
        with place.path.open("wb", buffering=0) as file:
            for start in range(0, len(ONE), 500):
                file.write(ONE[start : start + 500])
                await asyncio.sleep(WATCH_SECONDS / 5)
                assert store.current is None
        await until_served(store, version(ONE))


async def test_a_deleted_file_leaves_its_model_serving(place: Place) -> None:
    """Deleted: the model is still served, stale; restored: it is no longer stale; replaced: reloaded."""
    async with place.serving(ONE) as store:
        place.path.unlink()
        await eventually(lambda: rejected(store, "file_missing"))
        assert store.current
        assert answer(store.current)
        assert (store.state, metric(store, "als_model_ready"), metric(store, "als_model_stale")) == ("stale", 1, 1)
        put(place.path, ONE)
        await until_served(store, version(ONE))
        place.path.unlink()
        await eventually(lambda: rejected(store, "file_missing"))
        put(place.path, TWO)
        await until_served(store, version(TWO))


async def test_a_kubernetes_volume_swap_is_noticed(place: Place) -> None:
    """A ConfigMap-like volume swaps the link ``..data``; the path's own link never changes."""
    volume = place.path.parent
    for name, content in (("..1", ONE), ("..2", TWO)):
        (volume / name).mkdir()
        (volume / name / "model.npz").write_bytes(content)
    (volume / "..data").symlink_to("..1")
    place.path.symlink_to("..data/model.npz")
    async with place.started(watch_seconds=NO_EVENTS) as store:
        await until_served(store, version(ONE))
        await eventually(lambda: metric(store, "als_watcher_up") == 1)
        (volume / "..data_tmp").symlink_to("..2")
        (volume / "..data_tmp").replace(volume / "..data")
        await until_served(store, version(TWO))


async def test_a_link_pointed_elsewhere_is_noticed(place: Place, tmp_path: Path) -> None:
    """A symbolic link pointed at another file is noticed, and so is a replacement of the file it points at."""
    for name, content in (("first", ONE), ("second", TWO)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m").write_bytes(content)
    place.path.symlink_to(tmp_path / "first" / "m")
    async with place.started(watch_seconds=NO_EVENTS) as store:
        await until_served(store, version(ONE))
        again = place.path.with_name("again")
        again.symlink_to(tmp_path / "second" / "m")
        again.replace(place.path)
        await until_served(store, version(TWO))
        # The look that found the new target also moves the watch to its directory.
        await eventually(lambda: watching(tmp_path / "second"))
        put(tmp_path / "second" / "m", THREE)
        await until_served(store, version(THREE))


def watching(directory: Path) -> bool:
    """Say whether this process has an inotify watch on a directory."""
    wanted = f"ino:{directory.stat().st_ino:x} "
    for facts in Path("/proc/self/fdinfo").iterdir():
        try:
            if wanted in facts.read_text():
                return True
        except OSError:
            continue
    return False


async def test_a_replaced_parent_directory_is_noticed(place: Place) -> None:
    """Another directory at the parent's place: the look finds the new file, and events come from it again."""
    parent = place.path.parent
    async with place.serving(ONE) as store:
        parent.rename(parent.with_name("away"))
        await eventually(lambda: rejected(store, "file_missing"))
        parent.mkdir()
        put(place.path, TWO)
        await until_served(store, version(TWO))
        await eventually(lambda: watching(parent))
        assert metric(store, "als_watcher_up") == 1


async def test_a_mount_of_a_single_file_is_warned_of(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Docker's ``-v file:file`` never shows a rename on the host; the warning says what to mount instead."""
    outside = tmp_path / "outside.npz"
    outside.write_bytes(ONE)
    place.path.touch()
    with mounted("--bind", str(outside), str(place.path)):
        async with place.started() as store:
            await until_served(store, version(ONE))
            await eventually(lambda: "Mount its directory instead" in caplog.text)


async def test_without_any_event_the_look_notices(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a filesystem that sends no events, or after an overflow, the regular look notices."""

    async def silence(*paths: Path, **options: object) -> AsyncIterator[set[watchfiles.main.FileChange]]:
        await asyncio.Event().wait()
        yield set()

    monkeypatch.setattr(watcher, "awatch", silence)
    async with place.serving(ONE) as store:
        put(place.path, TWO)
        await until_served(store, version(TWO))


async def test_a_failing_watch_is_made_up_for(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At the inotify limit, regular checks continue, it is logged once, and the watch returns when it can."""
    tries: list[float] = []
    allowed = asyncio.Event()

    def limited(*paths: Path, **options: object) -> AsyncIterator[set[watchfiles.main.FileChange]]:
        tries.append(time.monotonic())
        if not allowed.is_set():
            raise OSError(24, "inotify watch limit reached")
        return watchfiles.awatch(*paths, **options)  # type: ignore[arg-type] # passed on as they came

    monkeypatch.setattr(watcher, "awatch", limited)
    monkeypatch.setattr(watcher, "_FIRST_PAUSE_SECONDS", 0.05)
    async with place.serving(ONE) as store:
        await eventually(lambda: len(tries) > 2)
        assert metric(store, "als_watcher_up") == 0
        put(place.path, TWO)
        await until_served(store, version(TWO))
        allowed.set()
        await eventually(lambda: metric(store, "als_watcher_up") == 1)
        await eventually(lambda: watching(place.path.parent))
    assert caplog.text.count("File events stopped") == 1


async def test_at_the_real_inotify_limit_the_look_goes_on(tmp_path: Path) -> None:
    """Where this user may have no inotify instance at all, a new model is still noticed."""
    scenario = f"""
import asyncio
from tests.support.helpers import *
async def main():
    place = Place(Path({str(tmp_path)!r}))
    async with place.serving(model_bytes(1)) as store:
        assert metric(store, "als_watcher_up") == 0
        put(place.path, model_bytes(2))
        await eventually(lambda: serves(store, version(model_bytes(2))))
asyncio.run(main())
"""
    without_inotify = 'echo 0 > /proc/sys/user/max_inotify_instances && exec "$@"'
    unshare = ["unshare", "--user", "--map-root-user", "sh", "-c", without_inotify, "sh"]
    need((await finished(*unshare, "true")).returncode == 0, "Allow user namespaces (unshare) to set an inotify limit.")
    done = await finished(*unshare, sys.executable, "-c", scenario)
    assert done.returncode == 0, done.stderr
