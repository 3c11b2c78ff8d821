"""The catalog in a live server: it comes, changes and stays, the log says what it has, and no bad file does harm."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from service.live.catalog import CatalogLoader
from service.live.policy import Policy
from service.live.reloader import Reloader, request_every
from service.model.storage.shelf import Shelf
from tests.support.helpers import WATCH_SECONDS, Place, at_work, events, eventually, model_bytes, put
from tests.support.stores import Store

GOOD = b"id,title,genre,price\n1,One,horror,2\n2,Two,cookery,3\n"


class Described:
    """A catalog, a shelf for it, and what keeps it current; another block is another start."""

    def __init__(self, place: Place) -> None:
        self.path = place.path.with_name("items.csv")
        self.shelf = Shelf(place.shelf.root.with_name("items"), keep=2)
        self._place = place

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[Store]:
        """Keep the catalog current for the time of a block."""
        store = self._place.store()
        store.slot.policy = Policy(expected=("items",))
        loader = CatalogLoader(self.path, store.slot, self.shelf, self._place.limits)
        reloads = Reloader(self.path, loader, WATCH_SECONDS)
        async with at_work(reloads.run()), at_work(request_every(WATCH_SECONDS, reloads)):
            yield store


@pytest.fixture
def described(place: Place) -> Described:
    """Return a catalog beside a model path."""
    return Described(place)


def count(store: Store) -> int | None:
    """Return how many items the catalog in force has."""
    return None if store.slot.policy.items is None else len(store.slot.policy.items)


async def test_the_log_says_what_a_catalog_has(described: Described, caplog: pytest.LogCaptureFixture) -> None:
    """Its columns with their types, what was left out and why, and rows that a later one replaced."""
    caplog.set_level("INFO")
    rows = "1,One,horror,2,x\n2,Two,cookery,3,y\n2,Again,poetry,4,z\n,None,poetry,4,z\n"
    put(described.path, f"id,title,genre,price,\n{rows}".encode())
    async with described.kept() as store:
        await eventually(lambda: count(store) == 2)
        await eventually(lambda: "catalog_rows" in events(caplog))
    assert "genre (text), price (number)" in caplog.text
    assert "catalog_remark" in events(caplog)
    assert "catalog_coverage" not in events(caplog)  # there is no model yet


async def test_the_log_says_how_much_of_the_model_a_catalog_lists(
    described: Described, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """Once there is a model."""
    caplog.set_level("INFO")
    put(place.path, model_bytes(1))
    async with described.kept() as store, at_work(store.run()):
        await eventually(lambda: store.slot.loaded is not None)
        assert store.current is None  # nothing is served before the catalog has come
        put(described.path, GOOD)
        await eventually(lambda: "catalog_coverage" in events(caplog))
        assert store.current is not None


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"", None], ids=["no ids", "empty", "missing"])
async def test_a_bad_catalog_changes_nothing(
    described: Described, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    """The catalog from before counts, also after a restart."""
    put(described.path, GOOD)
    async with described.kept() as store:
        await eventually(lambda: count(store) == 2)
        described.path.unlink() if content is None else put(described.path, content)
        await eventually(lambda: "policy_rejected" in events(caplog))
        assert count(store) == 2
    async with described.kept() as store:
        await eventually(lambda: count(store) == 2)
        assert "policy_resumed" in events(caplog)


async def test_a_damaged_catalog_is_imported_again(described: Described) -> None:
    """What was kept is only used if it is whole."""
    put(described.path, GOOD)
    async with described.kept() as store:
        await eventually(lambda: count(store) == 2)
    next(described.shelf.root.glob("*/ids.npy")).write_bytes(b"")
    async with described.kept() as store:
        await eventually(lambda: count(store) == 2)


async def test_a_catalog_that_was_kept_is_not_imported_again(
    described: Described, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart opens what is there."""
    put(described.path, GOOD)
    async with described.kept() as store:
        await eventually(lambda: count(store) == 2)
    monkeypatch.setattr("service.live.catalog.import_in_child", None)
    async with described.kept() as store:
        await eventually(lambda: count(store) == 2)
