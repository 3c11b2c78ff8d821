"""A new model's answers are watched; if they are bad, the model before is back, and stays until a person decides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service.errors import QuarantinedError
from service.live.administration import Administration
from service.live.commands import Accept, Pin, RollBack
from service.live.generation import Generation, Offer, Slot
from service.live.probation import FEWEST_ANSWERS, Allowance, Answers
from service.live.reading import Reading
from service.model.storage.verdicts import Verdicts
from service.observe.metrics import Metrics
from tests.support.helpers import (
    Place,
    at_work,
    counted_imports,
    events,
    eventually,
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
#: Longer than any test.
LONG = Allowance(3600)


def answered(store: Store, lists: int, *, empty: int = 0, failed: int = 0, refused: int = 0) -> None:
    """Count answers as the API would."""
    metrics = store.metrics
    metrics.results.labels("als", "served").inc(lists)
    metrics.results_empty.labels("served").inc(empty)
    metrics.requests.labels("/v1/items/popular", "GET", "500", "served").inc(failed)
    metrics.requests.labels("/v1/items/popular", "GET", "503", "served").inc(refused)


def test_the_candidate_is_not_on_probation() -> None:
    """Its empty lists and failures say nothing about the served model."""
    metrics = Metrics(CollectorRegistry())
    for arm in ("served", "candidate"):
        metrics.results.labels("als", arm).inc(10)
        metrics.results_empty.labels(arm).inc(2)
        metrics.requests.labels("/v1/items/popular", "GET", "500", arm).inc(5)
    assert Answers.counted(metrics) == Answers(15, 7)


@asynccontextmanager
async def watched(place: Place, *, lists: int = FEWEST_ANSWERS, empty: int = 0) -> AsyncIterator[Store]:
    """Serve a model that has given so many answers, and then another."""
    async with place.serving(ONE) as store, at_work(store.live.probation.run()):
        answered(store, lists, empty=empty)
        put(place.path, TWO)
        await until_served(store, version(TWO))
        yield store


def returned(store: Store, wanted: bytes = ONE) -> bool:
    """Say whether a store has gone back to a model, and says so."""
    assert store.current
    return store.current.version == version(wanted) and rejected(store, "quarantined")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"empty": 0}, {"empty": 11}),
        ({"empty": 0}, {"failed": 11}),
        ({"empty": 100}, {"empty": 112}),
    ],
)
async def test_bad_answers_bring_the_model_before_back(
    place: Place,
    before: dict[str, int],
    after: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Empty or failed ones, by more than 5 % of all, above the share before; without an import."""
    caplog.set_level("INFO")
    imports = counted_imports(monkeypatch)
    place.allowance = LONG
    async with watched(place, **before) as store:
        caplog.clear()
        answered(store, FEWEST_ANSWERS, **after)
        await eventually(lambda: returned(store))
        assert (store.state, imports) == ("stale", [version(ONE), version(TWO)])
        assert metric(store, "als_model_returns_total") == 1
        assert store.last_reload
        assert store.last_reload.version == version(TWO)
        assert f"als-serve accept {version(TWO)} serves it again" in store.last_reload.detail
        assert events(caplog) == ["rejected", "still_serving"]
        assert [served.version for served in store.history] == [version(TWO), version(ONE)]
        await eventually(lambda: metric(store, "als_model_snapshots_held") == 0)
        assert not store.live.probation.is_on


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"lists": FEWEST_ANSWERS, "empty": 10}),
        ({}, {"lists": FEWEST_ANSWERS - 1, "empty": 100}),
        ({}, {"lists": FEWEST_ANSWERS, "refused": 1000}),
        ({"empty": 100}, {"lists": FEWEST_ANSWERS, "empty": 109}),
    ],
)
async def test_answers_that_are_good_enough_change_nothing(
    place: Place, before: dict[str, int], after: dict[str, int]
) -> None:
    """5 % more are allowed; fewer than 200 answers say nothing; refusals under load are not the model's fault."""
    place.allowance = Allowance(0.5)
    async with watched(place, **before) as store:
        answered(store, **after)
        assert metric(store, "als_model_on_probation") == 1
        await eventually(lambda: metric(store, "als_model_on_probation") == 0)
        assert serves(store, version(TWO))
        answered(store, FEWEST_ANSWERS, empty=FEWEST_ANSWERS)
        assert serves(store, version(TWO))
        assert metric(store, "als_model_returns_total") == 0


async def test_the_model_before_is_kept_as_long_as_it_may_be_needed(place: Place) -> None:
    """In memory and on disk, even if only one is to be kept; then it goes."""
    place.shelf = replace(place.shelf, keep=1)
    place.allowance = Allowance(0.5)
    async with watched(place) as store:
        assert place.shelf.versions() == [version(TWO), version(ONE)]
        assert metric(store, "als_model_snapshots_held") == 1
        await eventually(lambda: place.shelf.versions() == [version(TWO)])
        await eventually(lambda: metric(store, "als_model_snapshots_held") == 0)


async def test_with_few_answers_before_there_is_nothing_to_compare(place: Place) -> None:
    """The model before is not kept."""
    place.allowance = LONG
    async with watched(place, lists=FEWEST_ANSWERS - 1) as store:
        assert not store.live.probation.is_on
        await eventually(lambda: metric(store, "als_model_snapshots_held") == 0)


@pytest.mark.parametrize("allowance", [Allowance(), LONG])
async def test_nothing_is_watched_if_it_is_off_or_accepted(place: Place, allowance: Allowance) -> None:
    """A person has decided."""
    place.allowance = allowance
    if allowance is LONG:
        Verdicts(place.shelf.root.parent).accept(version(TWO))
    async with watched(place) as store:
        assert not store.live.probation.is_on


async def test_a_stopgap_is_nothing_to_return_to(place: Place, tmp_path: Path) -> None:
    """Popularity alone is worse than any model."""
    place.allowance = LONG
    stopgap = tmp_path / "popular.npz"
    stopgap.write_bytes(popularity_bytes())
    async with place.started() as store, at_work(store.live.probation.run()):
        store.stand_in(stopgap)
        await eventually(lambda: store.state == "limited")
        answered(store, FEWEST_ANSWERS)
        put(place.path, TWO)
        await until_served(store, version(TWO))
        assert not store.live.probation.is_on


async def test_of_two_bad_models_in_a_row_neither_stays(place: Place) -> None:
    """The second comes while the first is on probation, so the model before both is the one to return to."""
    place.allowance = LONG
    async with watched(place) as store:
        answered(store, FEWEST_ANSWERS - 1, empty=FEWEST_ANSWERS - 1)
        put(place.path, THREE)
        await until_served(store, version(THREE))
        answered(store, FEWEST_ANSWERS, empty=FEWEST_ANSWERS)
        await eventually(lambda: returned(store))


async def test_what_is_quarantined_stays_out(place: Place) -> None:
    """Though the file is replaced by the same content, and after a restart; another model is let in."""
    place.allowance = LONG
    async with watched(place) as store:
        answered(store, FEWEST_ANSWERS, empty=FEWEST_ANSWERS)
        await eventually(lambda: returned(store) and Verdicts(place.shelf.root.parent).is_quarantined(version(TWO)))
        put(place.path, TWO)
        await eventually(
            lambda: metric(store, "als_model_reloads_total", outcome="rejected", reason="quarantined") == 2
        )
        assert returned(store)
    async with place.started() as store:
        await eventually(lambda: store.current is not None and rejected(store, "quarantined"))
        assert returned(store)
        put(place.path, THREE)
        await until_served(store, version(THREE))


async def test_what_is_quarantined_is_not_served_in_place_of_others(place: Place) -> None:
    """Though it is the only one that is left on disk, and the file is gone."""
    place.allowance = LONG
    async with watched(place) as store:
        answered(store, FEWEST_ANSWERS, empty=FEWEST_ANSWERS)
        await eventually(lambda: returned(store) and place.shelf.versions()[0] == version(ONE))
    place.path.unlink()
    place.shelf.discard(place.shelf.places()[0])
    assert place.shelf.versions() == [version(TWO)]
    async with place.started() as store:
        await eventually(lambda: rejected(store, "file_missing"))
        assert store.current is None


async def test_a_quarantined_model_can_be_accepted(place: Place) -> None:
    """It is served again without a restart, and not watched again, so there is no endless back and forth."""
    place.allowance = LONG
    async with watched(place) as store, at_work(store.live.notice_acceptance(0.02)):
        answered(store, FEWEST_ANSWERS, empty=FEWEST_ANSWERS)
        verdicts = store.live.admission.verdicts
        await eventually(lambda: returned(store) and verdicts.is_quarantined(version(TWO)))
        verdicts.accept(version(TWO))
        await until_served(store, version(TWO))
        answered(store, FEWEST_ANSWERS, empty=FEWEST_ANSWERS)
        assert not store.live.probation.is_on


async def test_accepting_a_model_ends_its_probation(place: Place) -> None:
    """Also if another process accepts it: a person has decided, so bad answers change nothing any more."""
    place.allowance = LONG
    async with watched(place) as store:
        Verdicts(place.shelf.root.parent).accept(version(TWO))
        answered(store, FEWEST_ANSWERS, empty=FEWEST_ANSWERS)
        await eventually(lambda: not store.live.probation.is_on)
        assert serves(store, version(TWO))
        assert store.live.admission.verdicts.is_accepted(version(TWO))
        await eventually(lambda: metric(store, "als_model_snapshots_held") == 0)


async def test_a_model_that_comes_during_a_look(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found out about the one before says nothing about it: it is watched, too."""
    place.allowance = LONG
    async with watched(place) as store:
        loop, real = asyncio.get_running_loop(), Verdicts.is_accepted

        def slow(verdicts: Verdicts, asked: str) -> bool:
            if asked == version(TWO):
                put(place.path, THREE)
                asyncio.run_coroutine_threadsafe(until_served(store, version(THREE)), loop).result()
                return True
            return real(verdicts, asked)

        monkeypatch.setattr(Verdicts, "is_accepted", slow)
        await until_served(store, version(THREE))
        answered(store, FEWEST_ANSWERS, empty=FEWEST_ANSWERS)
        await eventually(lambda: returned(store))


async def test_a_model_that_is_accepted_while_it_is_replaced(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not quarantined, so it is back soon."""
    place.allowance = LONG
    async with watched(place) as store, at_work(store.live.notice_acceptance(0.02)):
        verdicts, real = store.live.admission.verdicts, Slot.serve

        def accept(slot: Slot, offer: Offer, reading: Reading, *, stale: bool = False) -> Generation | None:
            verdicts.accept(version(TWO))
            return real(slot, offer, reading, stale=stale)

        monkeypatch.setattr(Slot, "serve", accept)
        answered(store, FEWEST_ANSWERS, empty=FEWEST_ANSWERS)
        await eventually(lambda: metric(store, "als_model_returns_total") == 1)
        await until_served(store, version(TWO))
        assert verdicts.is_accepted(version(TWO))


async def test_a_model_that_was_taken_back_is_one_that_was_served(place: Place) -> None:
    """So it can be pinned once it is accepted, not before; and rolling back changes nothing, as it was left already."""
    place.allowance = LONG
    async with watched(place) as store:
        answered(store, FEWEST_ANSWERS, empty=FEWEST_ANSWERS)
        await eventually(lambda: Verdicts(place.shelf.root.parent).is_quarantined(version(TWO)))
        administration = Administration(store.live)
        for command in (Pin(version(TWO)), RollBack(version(TWO))):
            with pytest.raises(QuarantinedError):
                await administration.perform(command)
        assert (await administration.perform(RollBack())).served == version(ONE)
        found = await administration.perform(Accept(version(TWO)))
        assert all(kept.was_served for kept in found.versions)
        assert (await administration.perform(Pin(version(TWO)))).pinned == version(TWO)


async def test_a_quarantine_that_cannot_be_written(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """The model before is back all the same, and the log says what failed."""
    place.allowance = LONG
    async with watched(place) as store:
        put(place.shelf.root.parent / "quarantined", b"a file where a directory should be")
        answered(store, FEWEST_ANSWERS, empty=FEWEST_ANSWERS)
        await eventually(lambda: returned(store))
        await eventually(lambda: "housekeeping_failed" in events(caplog))
