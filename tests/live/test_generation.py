from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from service.live import generation
from service.live.generation import Slot
from service.live.reading import Reading
from service.model.titles import Titles
from service.observe.metrics import Metrics
from tests.support.models import make_factors
from tests.support.serving import make_snapshot

ONE, TWO = make_snapshot(make_factors(), "one"), make_snapshot(make_factors(seed=1), "two")


def titles(title: bytes) -> Titles:
    """Make titles of the item 0."""
    return Titles(np.array([b"0"]), np.array([0, len(title)]), np.frombuffer(title, np.uint8))


@pytest.fixture
def slot() -> Slot:
    """Return an empty slot."""
    return Slot(Metrics(CollectorRegistry()))


def test_what_a_request_has_taken_never_changes(slot: Slot) -> None:
    """A swap of the model, of the titles, or of either's state replaces the generation as a whole."""
    slot.show_titles(titles(b"First"))
    slot.serve(ONE, Reading("a file"))
    taken = slot.current
    assert taken
    slot.show_titles(titles(b"Second"))
    slot.mark(stale=True)
    slot.serve(TWO, Reading("a file"))
    assert (taken.version, taken.stale) == (ONE.version, False)
    assert taken.titles and taken.titles.of(np.array([0])) == ["First"]
    with pytest.raises(FrozenInstanceError):
        taken.stale = True  # type: ignore[misc]  # which is what is tested
    now = slot.current
    assert now and now.titles
    assert (now.version, now.titles.of(np.array([0])), now.stale) == (TWO.version, ["Second"], False)
    assert now.number > taken.number


def test_a_model_that_cannot_be_measured_is_not_served(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails, fails before the swap, so that what is served is always what the reload says."""
    slot.serve(ONE, Reading(""))

    def failing(*_: object) -> None:
        raise OverflowError

    monkeypatch.setattr(generation, "measure_model", failing)
    with pytest.raises(OverflowError):
        slot.serve(TWO, Reading(""))
    assert slot.version == ONE.version
    assert slot.earlier == []


def test_titles_that_come_before_the_model_are_served_with_it(slot: Slot) -> None:
    """And those that come after it are served with the model that is there."""
    assert not slot.has_titles
    slot.show_titles(titles(b"Early"))
    assert slot.current is None
    slot.serve(ONE, Reading("a file"))
    assert slot.current and slot.current.titles
    number, loaded_at = slot.current.number, slot.current.loaded_at
    slot.show_titles(titles(b"Late"))
    assert slot.current.number == number + 1
    assert (slot.current.snapshot, slot.current.loaded_at) == (ONE, loaded_at)
