"""Generations, and the slot that holds the current one."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from service.live import generation
from service.live.generation import Generation, Slot
from service.live.policy import Part, Policy
from service.live.reading import Reading
from service.model.catalog.assortment import Assortment
from service.model.catalog.id_list import EMPTY, IdList
from service.model.factors import Id
from service.model.storage.snapshot import Snapshot
from service.observe.metrics import Metrics
from tests.support.models import make_factors
from tests.support.serving import make_snapshot


def numbered(name: str, seed: int = 0) -> Snapshot:
    """Make a model whose ids are its row numbers."""
    return make_snapshot(replace(make_factors(seed=seed), user_ids=np.arange(40), item_ids=np.arange(60)), name)


ONE, TWO = numbered("one"), numbered("two", 1)


async def serve(slot: Slot, snapshot: Snapshot) -> None:
    """Serve a model."""
    slot.serve(await slot.offer(snapshot), Reading("a file"))


@pytest.fixture
def metrics() -> Metrics:
    """Return metrics of nothing yet."""
    return Metrics(CollectorRegistry())


@pytest.fixture
def slot(metrics: Metrics) -> Slot:
    """Return an empty slot."""
    return Slot(metrics)


async def test_what_a_request_has_taken_never_changes(slot: Slot) -> None:
    """A swap of the model, of the policy, or of the model's state replaces the generation as a whole."""
    await obey(slot, "unavailable", id_list(1))
    await serve(slot, ONE)
    taken = slot.current
    assert taken
    await obey(slot, "unavailable", id_list(2))
    slot.mark(stale=True)
    await serve(slot, TWO)
    assert (taken.version, taken.stale) == (ONE.version, False)
    assert shown(taken)["unavailable"] == ["1"]
    with pytest.raises(FrozenInstanceError):
        taken.stale = True  # type: ignore[misc]  # which is what is tested
    now = slot.current
    assert now
    assert (now.version, shown(now)["unavailable"], now.stale) == (TWO.version, ["2"], False)
    assert now.number > taken.number


async def test_a_model_that_cannot_be_measured_is_not_served(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails, fails before the swap, so that what is served is always what the reload says."""
    await serve(slot, ONE)

    def failing(*_: object) -> None:
        raise OverflowError

    monkeypatch.setattr(generation, "measure_model", failing)
    with pytest.raises(OverflowError):
        await serve(slot, TWO)
    assert slot.version == ONE.version
    assert slot.earlier == []


def id_list(*ids: object) -> IdList:
    """Return a list of ids."""
    return IdList(np.array(sorted(str(each).encode() for each in ids), np.bytes_))


async def obey(slot: Slot, part: Part, content: IdList) -> None:
    """Put a part of the policy into force."""
    slot.obey(await slot.offer(change=lambda policy: policy.having(part, content)))


def shown(generation: Generation) -> dict[str, list[Id]]:
    """Return the items that a generation withholds, and the users whom it hides."""
    model, assortment = generation.snapshot.model, generation.assortment
    available, hidden = assortment.available, assortment.hidden
    return {
        "unavailable": [] if available is None else sorted(map(str, model.item_ids.at(np.flatnonzero(~available)))),
        "hidden_users": [] if hidden is None else sorted(map(str, model.user_ids.at(np.flatnonzero(hidden)))),
    }


async def test_a_model_is_served_with_the_current_policy(slot: Slot) -> None:
    """Any model: one that comes after a list, one that is there when it comes, and one that was served before."""
    await obey(slot, "unavailable", id_list(3, 999))
    assert slot.current is None
    numbers: list[int] = []
    steps: list[tuple[Snapshot, Part, IdList, dict[str, list[str]]]] = [
        (ONE, "hidden_users", id_list(5), {"unavailable": ["3"], "hidden_users": ["5"]}),
        (TWO, "unavailable", id_list(1, 2), {"unavailable": ["1", "2"], "hidden_users": ["5"]}),
        (ONE, "unavailable", EMPTY, {"unavailable": [], "hidden_users": ["5"]}),
    ]
    for snapshot, part, content, expected in steps:
        await serve(slot, snapshot)
        await obey(slot, part, content)
        assert slot.current
        assert slot.current.snapshot is snapshot
        assert shown(slot.current) == expected
        numbers.append(slot.current.number)
        slot.mark(stale=not slot.current.stale)
        assert shown(slot.current) == expected
    assert numbers == sorted(set(numbers))


async def test_nothing_is_served_before_the_policy_is_complete(metrics: Metrics) -> None:
    """A model waits for what says what must not be shown; then it is served, and later models at once."""
    slot = Slot(metrics, Policy(expected=("unavailable", "hidden_users")))
    await serve(slot, ONE)
    await obey(slot, "unavailable", EMPTY)
    assert (slot.current, slot.version) == (None, ONE.version)
    assert slot.policy.missing == ("ALS_HIDDEN_USERS",)
    assert metrics.registry.get_sample_value("als_model_ready") == 0
    await obey(slot, "hidden_users", id_list(5))
    assert slot.current
    assert shown(slot.current)["hidden_users"] == ["5"]
    assert metrics.registry.get_sample_value("als_model_ready") == 1
    assert metrics.registry.get_sample_value("als_users_hidden") == 1


@given(st.lists(st.tuples(st.sampled_from(["unavailable", "hidden_users", "model"]), st.integers(0, 2)), max_size=12))
@settings(max_examples=50, deadline=None)
async def test_what_changes_together_belongs_together(changes: list[tuple[Any, int]]) -> None:
    """However swaps of the model and of lists interleave, every generation has the lists that are in force then."""
    slot = Slot(Metrics(CollectorRegistry()))
    in_force: dict[str, list[str]] = {"unavailable": [], "hidden_users": []}
    seen: list[Generation | None] = []

    async def change(what: Any, value: int) -> None:
        if what == "model":
            offer = await slot.offer([ONE, TWO, ONE][value])
            slot.serve(offer, Reading(""))
        else:
            ids = [str(each) for each in range(value)]
            offer = await slot.offer(change=lambda policy: policy.having(what, id_list(*ids)))
            slot.obey(offer)
            in_force[what] = ids
        if slot.current:
            assert shown(slot.current) == in_force
        seen.append(slot.current)

    await asyncio.gather(*(change(*each) for each in changes))
    assert len(seen) == len(changes)
    assert len({generation.number for generation in seen if generation}) == len([each for each in seen if each])


async def test_a_change_meanwhile_is_taken_into_account(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that comes while another model is being prepared counts for that model too."""
    await serve(slot, ONE)
    working, go_on = asyncio.Event(), threading.Event()
    loop, real = asyncio.get_running_loop(), Policy.assort

    def slow(policy: Policy, *arguments: Any) -> Assortment:
        if policy.unavailable is None:
            loop.call_soon_threadsafe(working.set)
            assert go_on.wait(10)
        return real(policy, *arguments)

    monkeypatch.setattr(Policy, "assort", slow)
    swapping = asyncio.create_task(serve(slot, TWO))
    await working.wait()
    await obey(slot, "unavailable", id_list(3))
    go_on.set()
    await swapping
    assert slot.current
    assert slot.current.snapshot is TWO
    assert shown(slot.current)["unavailable"] == ["3"]


async def test_an_outdated_offer_is_not_taken(slot: Slot) -> None:
    """A programming error is an error; it does not bring back the lists of yesterday."""
    old = await slot.offer(ONE)
    await obey(slot, "unavailable", id_list(3))
    with pytest.raises(AssertionError):
        slot.serve(old, Reading(""))
    with pytest.raises(AssertionError):
        slot.obey(old)
