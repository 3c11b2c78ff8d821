"""Earlier versions for requests that name them: opened once, a few at a time, under the policy of the moment."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import VersionGoneError
from service.live import held as held_versions
from service.live.held import HeldVersions
from service.model.catalog.id_list import IdList
from service.model.storage.shelf import Shelf
from service.model.storage.snapshot import Snapshot
from tests.support.helpers import Place, eventually, metric, model_bytes, put, until_served
from tests.support.stores import Store


class Site:
    """A store that has served several versions, and what holds earlier ones."""

    def __init__(self, store: Store, versions: list[str]) -> None:
        self.store = store
        self.versions = versions
        self.held = HeldVersions(store.slot, store.live.preparation.shelf)

    @property
    def number(self) -> float | None:
        """Return how many versions are held, as the metric says."""
        return metric(self.store, "als_model_versions_held")


@pytest.fixture
async def site(place: Place) -> AsyncIterator[Site]:
    """Serve four versions, one after the other; all are kept."""
    place.shelf = Shelf(place.shelf.root, keep=4)
    async with place.started() as store:
        versions = []
        for seed in range(4):
            versions.append(put(place.path, model_bytes(seed)))
            await until_served(store, versions[-1])
        yield Site(store, versions)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the directories that are opened from now on."""
    places: list[Path] = []
    real = Shelf.open

    def counted(shelf: Shelf, place: Path) -> Snapshot:
        places.append(place)
        return real(shelf, place)

    monkeypatch.setattr(Shelf, "open", counted)
    return places


async def test_a_version_is_opened_once(site: Site, opened: list[Path]) -> None:
    """However many ask for it at once, even if the first leaves; and not again for those who come later."""
    first = asyncio.create_task(site.held.generation(site.versions[0]))
    others = [asyncio.create_task(site.held.generation(site.versions[0])) for _ in range(5)]
    await asyncio.sleep(0)
    first.cancel()
    generations = {id(generation) for generation in await asyncio.gather(*others)}
    generations.add(id(await site.held.generation(site.versions[0])))
    assert len(generations) == len(opened) == 1
    assert (await site.held.generation(site.versions[0])).version == site.versions[0]


async def test_few_are_held(site: Site, opened: list[Path]) -> None:
    """The one that was asked for longest ago is let go of, and opened again if it is asked for again."""
    first, second, third, _ = site.versions
    numbers = {(await site.held.generation(version)).number for version in (first, second, first, third)}
    assert len(numbers) == 3
    assert all(number < 0 for number in numbers)
    assert site.number == held_versions.MOST
    assert len(opened) == 3
    await site.held.generation(first)
    assert len(opened) == 3
    await site.held.generation(second)
    assert len(opened) == 4


async def test_what_nobody_asks_for_is_let_go_of(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the disk space of removed files is free again."""
    monkeypatch.setattr(held_versions, "IDLE_SECONDS", 0.2)
    await site.held.generation(site.versions[0])
    await asyncio.sleep(0)
    await site.held.generation(site.versions[0])
    assert site.number == 1
    await eventually(lambda: site.number == 0)


async def test_it_answers_under_the_policy_of_the_moment(site: Site, opened: list[Path]) -> None:
    """A change of the policy makes another generation of the same snapshot."""
    before = await site.held.generation(site.versions[0])
    item = before.snapshot.model.item_ids.at(np.array([0]))[0]
    unavailable = IdList(np.array([str(item).encode()]))
    offer = await site.store.slot.offer(change=lambda policy: policy.having("unavailable", unavailable))
    site.store.slot.obey(offer)
    after = await site.held.generation(site.versions[0])
    assert after.assortment.unavailable_items == 1
    assert after.number != before.number
    assert after.snapshot is before.snapshot
    assert len(opened) == site.number == 1


@pytest.mark.parametrize("held_before", [False, True])
async def test_what_is_quarantined_does_not_answer(site: Site, *, held_before: bool) -> None:
    """Though it is held, until a person accepts it; and it is not among those that can be named."""
    first, second, _, _ = site.versions
    verdicts = site.store.live.admission.verdicts
    if held_before:
        await site.held.generation(first)
    verdicts.quarantine(first)
    with pytest.raises(VersionGoneError) as gone:
        await site.held.generation(first)
    assert f"Version {first} is quarantined" in str(gone.value)
    with pytest.raises(VersionGoneError) as gone:
        await site.held.generation("0123456789abcdef")
    assert second in str(gone.value)
    assert first not in str(gone.value)
    verdicts.accept(first)
    assert (await site.held.generation(first)).version == first


async def test_a_version_that_vanishes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is being opened, or before: it is gone, and the others are named; one that is open still answers."""
    first, second, third, fourth = site.versions
    shelf = site.store.live.preparation.shelf
    held = await site.held.generation(first)
    shutil.rmtree(shelf.served()[first])
    assert await site.held.generation(first) is held

    def vanishing(*_: Any) -> Snapshot:
        raise FileNotFoundError

    monkeypatch.setattr(Shelf, "open", vanishing)
    with pytest.raises(VersionGoneError) as gone:
        await asyncio.gather(*(site.held.generation(second) for _ in range(3)))
    assert f"; {fourth}, {third} can be named" in str(gone.value)
    with pytest.raises(VersionGoneError):
        await site.held.generation("0123456789abcdef")
    assert site.number == 1
