"""Lists of unavailable items and hidden users in a live server: they come, change and stay; no bad file does harm."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.live.policy import Policy
from service.live.policy_files import ListLoader
from service.live.reading import Settling
from service.live.reloader import Reloader, request_every
from service.model.storage.shelf import Shelf
from service.model.storage.source import Signature
from tests.support.helpers import WATCH_SECONDS, Place, at_work, events, eventually, model_bytes, put
from tests.support.stores import Store


class Listed:
    """A list of unavailable items, a shelf for it, and what keeps it current; another block is another start."""

    def __init__(self, place: Place) -> None:
        self.path = place.path.with_name("unavailable.txt")
        self.shelf = Shelf(place.shelf.root.with_name("unavailable"), keep=2)
        self._place = place

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[Store]:
        """Keep the list current for the time of a block."""
        store = self._place.store()
        store.slot.policy = Policy(expected=("unavailable",))
        loader = ListLoader("unavailable", self.path, store.slot, self.shelf)
        reloads = Reloader(self.path, loader, WATCH_SECONDS)
        async with at_work(reloads.run()), at_work(request_every(WATCH_SECONDS, reloads)):
            yield store


@pytest.fixture
def listed(place: Place) -> Listed:
    """Return a list beside a model path."""
    return Listed(place)


def ids(store: Store) -> list[bytes] | None:
    """Return the list that is in force."""
    found = store.slot.policy.unavailable
    return None if found is None else found.ids.tolist()


async def in_force(store: Store, expected: list[bytes]) -> None:
    """Return once this list is in force."""
    await eventually(lambda: ids(store) == expected)


def metric(store: Store, name: str, **labels: str) -> float | None:
    """Return a metric of the list."""
    return store.metrics.registry.get_sample_value(name, {"file": "unavailable", **labels})


async def test_a_list_comes_and_changes_without_a_restart(listed: Listed) -> None:
    """A file that appears counts, and so does each that replaces it, an empty one too; the disk does not fill."""
    async with listed.kept() as store:
        for content, expected in [(b"a\nb\n", [b"a", b"b"]), (b"", []), (b"c\r\n", [b"c"]), (b"a\nb\n", [b"a", b"b"])]:
            put(listed.path, content)
            await in_force(store, expected)
            await eventually(lambda: len(list(listed.shelf.root.iterdir())) <= 2)
        assert metric(store, "als_policy_stale") == 0
        assert metric(store, "als_policy_reloads_total", outcome="swapped") == 4
        assert metric(store, "als_policy_loaded_timestamp_seconds")


BAD = {"missing": None, "not UTF-8": b"\xff\n", "a long id": b"x" * 300, "NUL": b"a\0b\n"}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
async def test_a_bad_file_is_one_warning(
    listed: Listed, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    """The list from before counts, also after a restart; the reason is logged once for each start."""
    put(listed.path, b"a\n")
    async with listed.kept() as store:
        await eventually(lambda: ids(store) == [b"a"])
        listed.path.unlink() if content is None else put(listed.path, content)
        await eventually(lambda: metric(store, "als_policy_stale") == 1)
        assert ids(store) == [b"a"]
    assert events(caplog).count("policy_rejected") == 1
    assert "⚠️ ALS_UNAVAILABLE is not taken; its last good content counts, if there is any: " in caplog.text
    async with listed.kept() as store:
        await eventually(lambda: ids(store) == [b"a"])
        assert store.slot.policy.missing == ()
        assert "policy_resumed" in events(caplog)
        put(listed.path, b"b\n")
        await eventually(lambda: ids(store) == [b"b"])
        assert metric(store, "als_policy_stale") == 0


async def test_without_any_good_list_something_is_missing(listed: Listed, caplog: pytest.LogCaptureFixture) -> None:
    """What must not be shown is unknown then, and the log says what to do."""
    async with listed.kept() as store:
        await eventually(lambda: metric(store, "als_policy_stale") == 1)
        assert store.slot.policy.missing == ("ALS_UNAVAILABLE",)
    assert f"There is no file at {listed.path}; put it there, or unset ALS_UNAVAILABLE." in caplog.text


async def test_the_last_list_is_the_one_that_was_in_force(listed: Listed) -> None:
    """A list that counted before the last one and then again is the last, and is not thrown away as the oldest."""
    async with listed.kept() as store:
        for content in (b"a\n", b"b\n", b"a\n"):
            put(listed.path, content)
            await in_force(store, content.split())
        await eventually(lambda: metric(store, "als_policy_reloads_total", outcome="swapped") == 3)
    listed.path.unlink()
    async with listed.kept() as store:
        await eventually(lambda: ids(store) == [b"a"])


async def test_a_damaged_list_is_read_again(listed: Listed) -> None:
    """What was kept is only used if it is whole."""
    put(listed.path, b"a\n")
    async with listed.kept() as store:
        await eventually(lambda: ids(store) == [b"a"])
    next(listed.shelf.root.glob("*/ids.npy")).write_bytes(b"")
    async with listed.kept() as store:
        await eventually(lambda: ids(store) == [b"a"])


async def test_a_list_that_cannot_be_kept_changes_nothing(listed: Listed, caplog: pytest.LogCaptureFixture) -> None:
    """A list that a restart would lose does not count, and the reason is the state directory."""
    listed.shelf.root.parent.mkdir(parents=True, exist_ok=True)
    listed.shelf.root.write_text("not a directory")
    put(listed.path, b"a\n")
    async with listed.kept() as store:
        await eventually(lambda: "policy_rejected" in events(caplog))
        assert ids(store) is None
    assert "state directory" in caplog.text


async def test_the_log_says_how_many_ids_the_model_has(
    listed: Listed, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """So a list of the wrong ids is noticed."""
    caplog.set_level("INFO")
    put(place.path, model_bytes(1))
    async with listed.kept() as store, at_work(store.run()):
        await eventually(lambda: store.slot.loaded is not None)
        assert store.slot.loaded
        known = store.slot.loaded.snapshot.model.item_ids.at(np.arange(2))
        put(listed.path, f"{known[0]}\n{known[1]}\nanother\n".encode())
        await eventually(lambda: "; ids: 3, in the model: 2" in caplog.text)


@pytest.mark.parametrize("function", ["publish", "open_id_list"], ids=["writing", "reading"])
async def test_a_list_that_a_failing_disk_keeps_out_changes_nothing(
    listed: Listed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, function: str
) -> None:
    """The list from before counts, and the log says why."""
    for content in (b"b\n", b"a\n"):  # both are kept: reading fails where a list comes again
        put(listed.path, content)
        async with listed.kept() as store:
            await in_force(store, content.split())
    async with listed.kept() as store:
        await in_force(store, [b"a"])
        monkeypatch.setattr(f"service.live.policy_files.{function}", failing_disk)
        put(listed.path, b"c\n" if function == "publish" else b"b\n")
        await eventually(lambda: {"policy_rejected", "postponed"} & {*events(caplog)})
        assert ids(store) == [b"a"]
    assert "Read-only file system" in caplog.text


def failing_disk(*_: object) -> None:
    """Fail as a disk does."""
    raise OSError(errno.EROFS, "Read-only file system")


class Recorder:
    """A clock that records how long a file must rest, and lets a writer go on meanwhile."""

    def __init__(self, *writes: Any) -> None:
        self.rests: list[float] = []
        self._writes = list(writes)

    async def sleep(self, seconds: float) -> None:
        """Note a rest, and let the writer do its next step."""
        self.rests.append(seconds)
        if self._writes:
            self._writes.pop(0)()


SIGNATURE = Signature("/l", 1, 2, 3, 1_000, 1_000)


@pytest.mark.parametrize(
    ("seen", "directory_ns", "read", "rest"),
    [
        (Signature("/l", 1, 2, 3, 1_000, 2_000), 500, None, 0),
        (Signature("/l", 1, 2, 3, 1_000, 1_000), 500, None, 2),
        (Signature("/l", 1, 2, 3, 1_000, 1_000), 1_000, None, 0.25),
        (Signature("/l", 1, 2, 0, 1_000, 1_000), 1_000, None, 2),
        (Signature("/l", 1, 2, 3, 1_000, 1_000), 1_000, Signature("/l", 1, 2, 9, 900, 900), 2),
        (Signature("/l", 1, 7, 3, 1_000, 1_000), 1_000, Signature("/l", 1, 2, 9, 900, 900), 0.25),
        ("There is none.", 500, None, 0),
    ],
    ids=["renamed", "written", "either", "begun", "written on", "replaced", "missing"],
)
async def test_a_file_that_is_written_where_it_stands_must_rest(
    monkeypatch: pytest.MonkeyPatch, seen: Signature | str, directory_ns: int, read: Signature | None, rest: float
) -> None:
    """A renamed file is taken at once, or soon where the clock cannot tell; half a list never is."""
    monkeypatch.setattr("service.live.reading.look", lambda _: seen)
    monkeypatch.setattr("service.live.reading._changed_ns", lambda _: directory_ns)
    clock = Recorder()
    monkeypatch.setattr(asyncio, "sleep", clock.sleep)
    settling = Settling(Path("/l"), 2.0, careful=True)
    settling.read = read
    assert await settling.settled() == seen
    assert clock.rests == ([rest] if rest else [])


async def test_half_a_list_is_not_taken(listed: Listed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that pauses loses nothing: the file counts once it has rested."""
    listed.path.write_text("")
    clock = Recorder(*(lambda more=more: append(listed.path, more) for more in (b"a\n", b"b\n", b"c\n")))
    monkeypatch.setattr("service.live.reading.asyncio.sleep", clock.sleep)
    settling = Settling(listed.path, 2.0, careful=True)
    await settling.settled()
    assert listed.path.read_text() == "a\nb\nc\n"
    assert len(clock.rests) == 4


def append(path: Path, more: bytes) -> None:
    """Write on into a file in place."""
    with path.open("ab") as file:
        file.write(more)
