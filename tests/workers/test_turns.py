"""Whose turn it is to accept: the worker with the fewest connections."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from service.workers.turns import Turns, make_turns


@pytest.fixture
def turns() -> Iterator[Turns]:
    """Return the memory that workers share."""
    descriptor = make_turns()
    yield Turns(descriptor)
    os.close(descriptor)


def test_it_is_the_turn_of_who_has_fewest(turns: Turns) -> None:
    """One with more lets others go first; who is alone always goes."""
    assert turns.is_mine(0, 100)
    assert turns.is_mine(1, 3)
    assert not turns.is_mine(0, 100)
    assert turns.is_mine(0, 3)
    assert turns.is_mine(1, 3)


def test_nobody_waits_for_a_worker_that_is_gone(turns: Turns) -> None:
    """What it had does not count any more."""
    turns.is_mine(0, 0)
    assert not turns.is_mine(1, 1)
    turns.clear(0)
    assert turns.is_mine(1, 1)
