"""Noticing changes: what is watched, when a reload is asked for, and what is warned of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from service.live.watcher import Watcher, is_single_file_mount, places
from tests.support.helpers import WATCH_SECONDS, Place, at_work, eventually, metric, metrics_of, put
from tests.support.stores import Store


class CountingStore(Store):
    """A store that only counts what it is asked."""

    requests = 0

    def request_reload(self) -> None:
        """Count."""
        self.requests += 1


@asynccontextmanager
async def watching(place: Place, watch_seconds: float = WATCH_SECONDS) -> AsyncIterator[CountingStore]:
    """Watch on behalf of a store that only counts; the first look has been taken."""
    made = place.store()
    store = CountingStore(place.path, place.shelf, place.limits, metrics_of(made))
    async with at_work(Watcher(place.path, store.request_reload, watch_seconds, metrics_of(store)).run()):
        await eventually(lambda: store.requests == 1)
        yield store


async def test_nothing_new_asks_for_nothing(place: Place) -> None:
    """Other files in the directory come and go, and looks go on: no reload is asked for."""
    put(place.path, b"model")
    async with watching(place) as store:
        for _ in range(20):
            place.path.with_name("another").touch()
            await asyncio.sleep(WATCH_SECONDS / 5)
            place.path.with_name("another").unlink()
        place.path.read_bytes()
        assert store.requests == 1


async def test_an_event_is_a_hint_to_look_at_once(place: Place) -> None:
    """With an hour between looks, a change is noticed by its event."""
    async with watching(place, watch_seconds=3600) as store:
        await eventually(lambda: metric(store, "als_watcher_up") == 1)
        put(place.path, b"model")
        await eventually(lambda: store.requests == 2)
        place.path.unlink()
        await eventually(lambda: store.requests == 3)


async def test_a_change_between_the_look_and_the_watch_is_noticed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happens before the watch begins sends no event; so a look follows its beginning."""
    begin = Watcher._hint
    allowed = asyncio.Event()

    async def late(self: Watcher) -> None:
        await allowed.wait()
        await begin(self)

    monkeypatch.setattr(Watcher, "_hint", late)
    async with watching(place, watch_seconds=3600) as store:
        put(place.path, b"model")
        allowed.set()
        await eventually(lambda: store.requests == 2)


async def test_a_directory_that_appears_later_is_watched_then(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """A missing directory is said once, and watched as soon as it is there."""
    place.path.parent.rmdir()
    async with watching(place) as store:
        await eventually(lambda: "File events stopped" in caplog.text)
        assert metric(store, "als_watcher_up") == 0
        place.path.parent.mkdir()
        await eventually(lambda: metric(store, "als_watcher_up") == 1)
        assert caplog.text.count("File events stopped") == 1


async def test_stopped_it_leaves_no_thread_behind(place: Place) -> None:
    """Cancelled, the watcher ends, and says that it is down."""
    async with watching(place) as store:
        await eventually(lambda: metric(store, "als_watcher_up") == 1)
    assert metric(store, "als_watcher_up") == 0
    assert len(asyncio.all_tasks()) == 1


def test_both_ends_of_a_link_are_watched(tmp_path: Path) -> None:
    """The directory of the path, and that of the file which it leads to."""
    real = tmp_path / "real"
    real.mkdir()
    (real / "m").touch()
    link = tmp_path / "m"
    link.symlink_to(real / "m")
    assert set(places(link)) == {tmp_path, real}
    assert set(places(real / "m")) == {real}
    (real / "m").unlink()
    real.rmdir()
    assert set(places(link)) == {tmp_path}, "a dangling link's own directory can be watched all the same"


def test_another_directory_at_a_place_is_told_apart(tmp_path: Path) -> None:
    """Gone, made again, or another one renamed there."""
    directory = tmp_path / "d"
    directory.mkdir()
    seen = [places(directory / "m")]
    directory.rename(tmp_path / "away")
    seen.append(places(directory / "m"))
    directory.mkdir()
    seen.append(places(directory / "m"))
    assert seen[0] != seen[1] != seen[2] != seen[0]
    assert seen[2] == places(directory / "m")


def test_a_mount_of_a_single_file_is_told_from_one_of_its_directory(tmp_path: Path) -> None:
    """As the kernel lists mounts: by the fifth field, spaces as octal escapes."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
        "36 22 254:0 /srv/models /app/models rw,relatime - ext4 /dev/vda rw\n"
        "42 22 254:0 /srv/m.pkl /app/my\\040model.pkl rw,relatime shared:1 - ext4 /dev/vda rw\n"
    )
    assert is_single_file_mount(Path("/app/my model.pkl"), mounts)
    assert not is_single_file_mount(Path("/app/models/m.pkl"), mounts)
    assert not is_single_file_mount(Path("/srv/m.pkl"), mounts)
    link = tmp_path / "link"
    link.symlink_to("/app/my model.pkl")
    assert is_single_file_mount(link, mounts)
    assert not is_single_file_mount(link, tmp_path / "no such list")
