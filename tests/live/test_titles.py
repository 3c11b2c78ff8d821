"""Titles in a live server: they come, change and stay, and no bad file does any harm."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from service.errors import StateDirectoryError
from service.live import reloader
from service.live import titles as live_titles
from service.live.importing import import_in_child
from service.live.reading import Settling
from service.live.reloader import Reloader, request_every
from service.live.titles import TitlesLoader
from service.model.storage.shelf import Shelf
from service.model.storage.source import Signature
from tests.support.helpers import WATCH_SECONDS, Place, at_work, events, eventually, put
from tests.support.stores import Store


class Titled:
    """A titles file, a shelf for it, and keepers of it; a new keeper is a new start."""

    def __init__(self, place: Place) -> None:
        self.path = place.path.with_name("item_titles.csv")
        self.shelf = Shelf(place.shelf.root.with_name("titles"), keep=1)
        self._place = place

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[Store]:
        """Keep titles current for the time of a block."""
        store = self._place.store()
        loader = TitlesLoader(self.path, store.slot, self.shelf, self._place.limits)
        reloads = Reloader(self.path, loader, WATCH_SECONDS)
        async with at_work(reloads.run()), at_work(request_every(WATCH_SECONDS, reloads)):
            yield store


@pytest.fixture
def titled(place: Place) -> Titled:
    """Return a titles file beside a model path."""
    return Titled(place)


def title(store: Store) -> str | None:
    """Return the title of the item "a"."""
    return store.titles.of(np.array([b"a"]))[0] if store.titles else None


async def test_titles_come_and_change_without_a_restart(titled: Titled) -> None:
    """A file that appears is taken, and so is each that replaces it; nothing of the ones before stays on disk."""
    async with titled.kept() as store:
        put(titled.path, b"id,title\na,One\n")
        await eventually(lambda: title(store) == "One")
        put(titled.path, b"id,title\na,Another\n")
        await eventually(lambda: title(store) == "Another")
        await eventually(lambda: len(list(titled.shelf.root.iterdir())) == 1)


async def test_a_bad_file_is_one_warning(titled: Titled, caplog: pytest.LogCaptureFixture) -> None:
    """The titles from before stay, and the reason is logged once, not at every look."""
    put(titled.path, b"id,title\na,One\n")
    async with titled.kept() as store:
        await eventually(lambda: title(store) == "One")
        put(titled.path, b"no,titles\n1,2\n")
        await eventually(lambda: "titles_rejected" in events(caplog))
        put(titled.path, b"id,title\na,Good again\n")
        await eventually(lambda: title(store) == "Good again")
    assert events(caplog).count("titles_rejected") == 1
    rejection = f"⚠️ Keeping the current item titles: {titled.path}: the header lacks a column called item;"
    assert [message for message in caplog.messages if message.startswith(rejection)]


@pytest.mark.parametrize("content", [None, b"", b"no,titles\n"], ids=["missing", "empty", "bad"])
async def test_without_a_good_file_a_start_shows_the_titles_from_before(titled: Titled, content: bytes | None) -> None:
    """What was kept is shown where there is no good file at the start."""
    put(titled.path, b"id,title\na,One\n")
    async with titled.kept() as store:
        await eventually(lambda: title(store) == "One")
    titled.path.unlink() if content is None else put(titled.path, content)
    async with titled.kept() as store:
        await eventually(lambda: title(store) == "One")


async def test_without_any_titles_nothing_is_shown(
    titled: Titled, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that is not there is one warning that says what to do, however often it is looked for."""
    real, looks = Settling.settled, []

    async def counted(settling: Settling) -> Signature | str:
        looks.append(settling)
        return await real(settling)

    monkeypatch.setattr(Settling, "settled", counted)
    async with titled.kept() as store:
        await eventually(lambda: len(looks) > 3)
        assert store.titles is None
    missing = f"There is no file at {titled.path}; put it there, or unset ALS_ITEM_TITLES."
    assert caplog.messages == [f"⚠️ Keeping the current item titles: {missing}"]


async def test_a_restart_imports_nothing_again(titled: Titled, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same file is opened as it was kept, unless that was damaged: then it is made again."""
    put(titled.path, b"id,title\na,One\n")
    async with titled.kept() as store:
        await eventually(lambda: title(store) == "One")
    imports = []

    async def counted(*arguments: object, **options: object) -> None:
        imports.append(arguments)
        await import_in_child(*arguments, **options)  # type: ignore[arg-type] # passed on as they came

    monkeypatch.setattr(live_titles, "import_in_child", counted)
    async with titled.kept() as store:
        await eventually(lambda: title(store) == "One")
        assert imports == []
    next(titled.shelf.root.glob("*/text.npy")).write_bytes(b"")
    async with titled.kept() as store:
        await eventually(lambda: title(store) == "One")
        assert len(imports) == 1


@pytest.mark.parametrize("failure", [StateDirectoryError("It is full."), OSError("Nobody foresaw this.")])
async def test_what_is_no_fault_of_the_titles_is_tried_again(
    titled: Titled, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failure: Exception
) -> None:
    """A state directory that takes nothing is waited for; after anything else the keeper is started anew."""
    monkeypatch.setattr(reloader, "STATE_DIRECTORY_RETRY_SECONDS", WATCH_SECONDS)
    monkeypatch.setattr(reloader, "_FIRST_RETRY_SECONDS", WATCH_SECONDS)
    failures = [failure]

    async def failing_at_first(*arguments: object, **options: object) -> None:
        if failures:
            raise failures.pop()
        await import_in_child(*arguments, **options)  # type: ignore[arg-type] # passed on as they came

    monkeypatch.setattr(live_titles, "import_in_child", failing_at_first)
    put(titled.path, b"id,title\na,One\n")
    async with titled.kept() as store:
        await eventually(lambda: title(store) == "One")
    assert not failures
    is_foreseen = isinstance(failure, StateDirectoryError)
    assert ("⚠️ Keeping the current item titles: It is full." in caplog.messages) is is_foreseen


async def test_a_file_written_while_it_is_read_is_read_again(titled: Titled, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a file is nobody's titles: what counts is how it is once it rests."""
    interrupted: list[Path] = []

    async def interfered(*arguments: object, **options: object) -> None:
        if not interrupted:
            interrupted.append(titled.path)
            append(titled.path, b"a,Whole\n")
        await import_in_child(*arguments, **options)  # type: ignore[arg-type] # passed on as they came

    monkeypatch.setattr(live_titles, "import_in_child", interfered)
    put(titled.path, b"id,title\na,Half\n")
    async with titled.kept() as store:
        await eventually(lambda: title(store) == "Whole")
    assert interrupted


def append(path: Path, more: bytes) -> None:
    """Write on into a file in place."""
    with path.open("ab") as file:
        file.write(more)
