"""An administrator's commands: what each changes, what it leaves alone, and what happens at the same time."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from service.errors import PinnedError, StateDirectoryError, UnknownVersionError
from service.live.administration import Administration
from service.live.commands import Accept, Look, Pin, RollBack, Show, Steer, Unpin
from service.live.preparing import Preparation
from service.live.reading import Reading
from service.live.reloader import Reloader
from service.model.storage import shelf as shelves
from service.model.storage.shelf import Shelf
from service.model.storage.snapshot import Snapshot
from tests.live.test_probation import LONG, answered, watched
from tests.support.helpers import (
    Place,
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
from tests.support.models import popularity_bytes
from tests.support.stores import Store

ONE, TWO, THREE = model_bytes(1), model_bytes(2), model_bytes(3)
FIRST, SECOND, THIRD = version(ONE), version(TWO), version(THREE)


async def served_both(store: Store, place: Place) -> Administration:
    """Have a store that serves the first model serve the second; return who administers it."""
    put(place.path, TWO)
    await until_served(store, SECOND)
    return Administration(store.live)


def is_served(store: Store, wanted: str) -> bool:
    """Say whether a store serves this version, whatever is at the path."""
    return store.current is not None and store.current.version == wanted


async def test_a_pin_is_stronger_than_an_import_that_has_begun(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that is pinned while another one is imported stays."""
    async with place.serving(ONE) as store:
        administration = await served_both(store, place)
        waits, go = held_back(tmp_path, monkeypatch)
        put(place.path, THREE)
        await eventually(waits.exists)
        found = await administration.perform(Pin(FIRST))
        assert (found.served, found.pinned) == (FIRST, FIRST)
        assert metric(store, "als_model_pinned") == 1
        go.touch()
        await eventually(lambda: rejected(store, "pinned") and store.live.reloader.history[0].version == THIRD)
        assert is_served(store, FIRST)
        with pytest.raises(PinnedError, match=f"pinned {FIRST}"):
            await administration.perform(RollBack(SECOND))
        assert (await administration.perform(Unpin())).pinned is None
        await until_served(store, THIRD)
        assert metric(store, "als_model_pinned") == 0


async def test_a_pinned_model_is_not_on_probation(place: Place) -> None:
    """Bad answers do not bring another one back, and the one before it is let go of."""
    place.allowance = LONG
    async with watched(place) as store:
        administration = Administration(store.live)
        await administration.perform(Pin(SECOND))
        assert not store.live.probation.is_on
        answered(store, 200, empty=200)
        await asyncio.sleep(0.3)
        assert is_served(store, SECOND)


async def test_rolling_back_ends_a_probation(place: Place) -> None:
    """To the version before, which was kept for that."""
    place.allowance = LONG
    async with watched(place) as store:
        found = await Administration(store.live).perform(RollBack())
        assert found.served == FIRST
        assert [kept.quarantined for kept in found.versions] == [False, True]
        assert not store.live.probation.is_on
        assert rejected(store, "quarantined")
        assert f"als-serve accept {SECOND}" in store.live.reloader.history[0].detail


async def left_once(administration: Administration) -> None:
    """Roll back without a version, and find that of three models only the newest was left."""
    found = await administration.perform(RollBack())
    assert found.served == SECOND
    assert [kept.model_version for kept in found.versions if kept.quarantined] == [THIRD]


async def test_rolling_back_again_changes_nothing(place: Place) -> None:
    """Whatever came to the path since, and after a restart; a newer model is left again."""
    async with place.serving(ONE) as store:
        administration = await served_both(store, place)
        put(place.path, THREE)
        await until_served(store, THIRD)
        await left_once(administration)
        put(place.path, b"not a model")
        await eventually(lambda: not rejected(store, "quarantined"))
        await left_once(administration)
    place.path.unlink()
    async with place.started() as store:
        await eventually(lambda: rejected(store, "file_missing"))
        administration = Administration(store.live)
        await left_once(administration)
        fourth = put(place.path, model_bytes(4))
        await until_served(store, fourth)
        found = await administration.perform(RollBack())
        assert found.served == SECOND
        assert {kept.model_version for kept in found.versions if kept.quarantined} == {THIRD, fourth}


async def test_a_newer_model_may_come_while_it_is_rolled_back(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays: what was to be left has been left."""
    async with place.serving(ONE) as store:
        administration = await served_both(store, place)
        real = Preparation.warm

        async def slow(preparation: Preparation, snapshot: Snapshot, reading: Reading) -> None:
            await real(preparation, snapshot, reading)
            if snapshot.version == FIRST:
                put(place.path, THREE)
                await until_served(store, THIRD)

        monkeypatch.setattr(Preparation, "warm", slow)
        found = await administration.perform(RollBack())
        assert found.served == THIRD
        assert {kept.model_version for kept in found.versions if kept.quarantined} == {SECOND}
        assert serves(store, THIRD)


@pytest.mark.parametrize("command", [Pin(FIRST), RollBack(FIRST)])
async def test_a_damaged_snapshot_is_not_served(place: Place, command: Pin | RollBack) -> None:
    """The served model stays, without a quarantine or a pin."""
    async with place.serving(ONE) as store:
        administration = await served_both(store, place)
        (place.shelf.served()[FIRST] / "item_factors.npy").unlink()
        with pytest.raises(UnknownVersionError, match="cannot be opened any more"):
            await administration.perform(command)
        found = await administration.perform(Show())
        assert (found.served, found.pinned) == (SECOND, None)
        assert not any(kept.quarantined for kept in found.versions)


async def test_a_pin_that_cannot_be_written(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes nothing, because a restart would forget it."""

    def fail(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    async with place.serving(ONE) as store:
        administration = await served_both(store, place)
        monkeypatch.setattr(shelves, "written_whole", fail)
        with pytest.raises(StateDirectoryError):
            await administration.perform(Pin(FIRST))
        assert (await administration.perform(Show())).pinned is None
        assert serves(store, SECOND)


async def test_a_restart_keeps_the_pin(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Also at another path; one that is lost is said to be, and newer models are taken again."""
    caplog.set_level("INFO")
    async with place.serving(ONE) as store:
        await (await served_both(store, place)).perform(Pin(FIRST))
    place.path = place.path.with_name("other.npz")
    put(place.path, THREE)
    async with place.started() as store:
        await eventually(lambda: rejected(store, "pinned"))
        assert is_served(store, FIRST)
        assert (await Administration(store.live).perform(Show())).pinned == FIRST
    (place.shelf.served()[FIRST] / "item_factors.npy").unlink()
    async with place.started() as store:
        await until_served(store, THIRD)
        assert "pin_lost" in events(caplog)
        assert (await Administration(store.live).perform(Show())).pinned is None


async def test_a_pin_outlives_its_snapshot(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """If the model is imported again from the path, as a restart does, it is still pinned; not if its file is gone."""
    async with place.serving(ONE) as store:
        await Administration(store.live).perform(Pin(FIRST))
    place.shelf.discard(place.shelf.served()[FIRST])
    async with place.started() as store:
        await until_served(store, FIRST)
        put(place.path, TWO)
        await eventually(lambda: rejected(store, "pinned"))
        assert is_served(store, FIRST)
        assert (await Administration(store.live).perform(Show())).pinned == FIRST
    place.shelf.discard(place.shelf.served()[FIRST])
    place.path.unlink()
    async with place.started():
        await eventually(lambda: "pin_lost" in events(caplog) and place.shelf.pinned() is None)


async def test_a_restart_keeps_the_pin_of_a_limited_model(place: Place) -> None:
    """A person chose it, so it is not a stopgap."""
    async with place.serving(ONE) as store:
        limited = put(place.path, popularity_bytes())
        await eventually(lambda: is_served(store, limited))
        await Administration(store.live).perform(Pin(limited))
    put(place.path, TWO)
    async with place.started() as store:
        await eventually(lambda: rejected(store, "pinned"))
        assert is_served(store, limited)
        assert (await Administration(store.live).perform(Show())).pinned == limited


async def test_a_restart_does_not_serve_what_is_quarantined(place: Place) -> None:
    """Even if the version that was returned to is lost, nothing is served rather than that, until it is accepted."""
    async with place.serving(ONE) as store:
        await (await served_both(store, place)).perform(RollBack(None))
        assert is_served(store, FIRST)
    place.shelf.discard(place.shelf.served()[FIRST])
    async with place.started() as store:
        await eventually(lambda: rejected(store, "quarantined"))
        assert store.current is None
        administration = Administration(store.live)
        await administration.perform(Accept(SECOND))
        await administration.perform(Look())
        await until_served(store, SECOND)


async def test_a_lost_pinned_model_makes_way(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """New workers cannot open it, so the model at the path is served, as after a restart, and the log says why."""
    caplog.set_level("INFO")
    async with place.serving(ONE) as store:
        administration = await served_both(store, place)
        await administration.perform(Pin(FIRST))
        place.shelf.discard(place.shelf.served()[FIRST])
        await administration.recover()
        await until_served(store, SECOND)
        assert "pin_lost" in events(caplog)
        assert (await administration.perform(Show())).pinned is None


async def test_a_lost_earlier_model_makes_way(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Where the one at the path is quarantined, the one that was served before is served again."""
    caplog.set_level("INFO")
    async with place.serving(ONE) as store:
        administration = await served_both(store, place)
        put(place.path, THREE)
        await until_served(store, THIRD)
        await administration.perform(RollBack())
        assert is_served(store, SECOND)
        place.shelf.discard(place.shelf.served()[SECOND])
        await administration.recover()
        assert is_served(store, FIRST)
        assert f"(stale): the snapshot of {SECOND} is lost" in caplog.text
        await eventually(lambda: metric(store, "als_model_snapshots_held") == 0)


async def test_what_is_lost_at_the_path_is_imported_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is not lost stays, even if the disk cannot be read for now."""
    async with place.serving(ONE) as store:
        administration = await served_both(store, place)
        await administration.perform(Pin(FIRST))
        place.shelf.discard(place.shelf.served()[SECOND])
        await administration.recover()
        assert is_served(store, FIRST)
        monkeypatch.setattr(Shelf, "_find", lambda *_: stores_lack_resources())
        await administration.recover()
        assert is_served(store, FIRST)
        monkeypatch.undo()
        await administration.perform(Unpin())
        await until_served(store, SECOND)
        place.shelf.discard(place.shelf.served()[SECOND])
        await administration.recover()
        await eventually(lambda: SECOND in place.shelf.served())
        assert is_served(store, SECOND)


def stores_lack_resources() -> None:
    """Fail as a file does where too many are open."""
    raise OSError(errno.EMFILE, "Too many open files")


async def test_looking_now(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the path, even if nothing changed, and in S3."""
    asked: list[str] = []
    async with place.serving(ONE) as store:
        administration = Administration(store.live, [lambda: asked.append("S3")])
        monkeypatch.setattr(Reloader, "retry", lambda _: asked.append("path"))
        await administration.perform(Look())
        assert asked == ["S3", "path"]
        await administration.perform(Unpin())  # nothing is pinned, so there is nothing to look at
        assert asked == ["S3", "path"]


async def test_the_candidates_percentage(place: Place) -> None:
    """It is what an administrator says, until that is taken back."""
    async with place.serving(ONE) as store:
        administration = Administration(store.live)
        assert (await administration.perform(Steer(12.5))).candidate_percent == 12.5
        assert (await administration.perform(Steer(None))).candidate_percent == 0.0
        assert (await administration.perform(Accept(SECOND))).candidate is None


async def test_a_version_that_disappears_is_not_listed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may clean up while versions are listed."""
    async with place.serving(ONE) as store:
        kept = place.shelf.kept()
        monkeypatch.setattr(Shelf, "kept", lambda _: kept | {SECOND: place.shelf.root / "gone"})
        found = await Administration(store.live).perform(Show())
        assert [each.model_version for each in found.versions] == [FIRST]
