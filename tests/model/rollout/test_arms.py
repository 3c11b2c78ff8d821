"""Who gets the candidate: the promised share, always the same users, and nobody leaves as the share grows."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.factors import Id
from service.model.rollout.arms import Experiment

USERS = 100_000


def on_candidate(users: range, percent: float, name: str = "default") -> set[int]:
    """Return the users of the candidate's arm."""
    experiment = Experiment(name, percent)
    return {user for user in users if experiment.arm_of(user) == "candidate"}


@pytest.mark.parametrize("percent", [0, 0.5, 1, 10, 33.3, 50, 90, 100])
def test_the_share_is_the_percentage(percent: float) -> None:
    """Of 100,000 users, it is right to a percentage point; 0 is nobody, and 100 everybody."""
    share = 100 * len(on_candidate(range(USERS), percent)) / USERS
    assert share == pytest.approx(percent, abs=1 if 0 < percent < 100 else 0)


def test_nobody_leaves_as_the_share_grows() -> None:
    """Who has the candidate at some percentage has it at any greater one."""
    arms = [on_candidate(range(10_000), percent) for percent in (0, 1, 10, 20, 50, 100)]
    assert all(fewer < more for fewer, more in pairwise(arms))


def test_another_experiment_has_other_users() -> None:
    """Half of those of one are in half of the other: who got a bad candidate does not always get the next."""
    both = on_candidate(range(USERS), 50) & on_candidate(range(USERS), 50, "another")
    assert len(both) == pytest.approx(USERS / 4, rel=0.05)


def test_the_arms_are_the_same_in_every_process() -> None:
    """Python's own hash differs from one process to another; these do not."""
    code = (
        "from service.model.rollout.arms import Experiment; e = Experiment('mine', 50)\n"
        "print(''.join(e.arm_of(user)[0] for user in range(1000)))"
    )
    told = {subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout for _ in range(2)}
    here = "".join(Experiment("mine", 50).arm_of(user)[0] for user in range(1000))
    assert told == {f"{here}\n".encode()}


def test_the_arms_are_the_same_in_every_version() -> None:
    """They must not change with an update of the server either, while an experiment is running."""
    experiment = Experiment("default", 50)
    users: list[Id] = ["ann", "bob", "ünal", 7, -1, 2**62, "a/b", " "]
    assert "".join(experiment.arm_of(user)[0] for user in users) == "sscsccsc"


@given(st.integers(-(2**63), 2**63 - 1), st.floats(0, 100))
def test_a_number_and_its_text_are_one_user(user: int, percent: float) -> None:
    """In a path every id is text, and in a body it may be a number."""
    experiment = Experiment("default", percent)
    assert experiment.arm_of(user) == experiment.arm_of(str(user))


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_has_an_arm(user: Id) -> None:
    """Also what is not UTF-8, which is refused later."""
    assert Experiment("default", 100).arm_of(user) == "candidate"
