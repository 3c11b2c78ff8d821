"""How much rows count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from service.errors import TrainingError
from service.training.als import train
from service.training.counting import Counting
from service.training.evaluation import evaluate
from service.training.interactions import Interactions, read_interactions
from service.training.splitting import hold_out
from tests.support.interactions import as_dict, write

DAY = 86_400


def read(directory: Path, rows: str, counting: Counting) -> Interactions:
    """Read rows of user, item, weight and time."""
    return read_interactions([write(directory / "data.csv", f"user,item,weight,time\n{rows}")], counting=counting)


def test_a_row_weighs_half_after_the_half_life(tmp_path: Path) -> None:
    """Each row by its own age, before those of a pair are summed."""
    rows = f"a,x,8,{2 * DAY}\na,x,8,{4 * DAY}\nb,y,8,0\nb,x,8,{3 * DAY}\n"
    found = as_dict(read(tmp_path, rows, Counting(half_life=2)))
    assert found == pytest.approx({("a", "x"): 4 + 8, ("b", "x"): 8 / 2**0.5, ("b", "y"): 2})


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ("a,x,1,1e12\nb,y,1,1e12\n", "the times are larger"),
        ("a,x,1,-1e12\nb,y,1,0\n", "the times are larger"),
    ],
)
def test_times_of_another_unit(tmp_path: Path, rows: str, why: str) -> None:
    """Milliseconds would make everything a thousand times as old as it is."""
    with pytest.raises(TrainingError, match=why):
        read(tmp_path, rows, Counting(half_life=2))


def test_a_half_life_needs_times(tmp_path: Path) -> None:
    """Without them nothing has an age."""
    path = write(tmp_path / "data.csv", "user,item\na,x\nb,y\n")
    with pytest.raises(TrainingError, match="needs times, and not every row has one"):
        read_interactions([path], counting=Counting(half_life=2))


def test_ratings_count_by_what_exceeds_the_neutral_one(tmp_path: Path) -> None:
    """A lower rating leaves the pair without weight: the item is known to the user, and nothing is learned of it."""
    rows = "a,x,5,0\na,y,2,0\nb,x,1,0\nb,y,3,0\n"
    found = read(tmp_path, rows, Counting(rated_above=2))
    assert as_dict(found) == {("a", "x"): 3, ("a", "y"): 0, ("b", "x"): 0, ("b", "y"): 1}
    with pytest.raises(TrainingError, match=r"^No row counts: none is rated above 5\.$"):
        read(tmp_path, rows, Counting(rated_above=5))


def test_dislikes_are_learned(tmp_path: Path) -> None:
    """A negative weight is a dislike, as it is to implicit; with a like of the same size it adds up to nothing."""
    likes = "".join(f"{user},{item},1,0\n" for user in "abcd" for item in "wxy")
    indifferent = read(tmp_path, f"{likes}e,w,1,0\ne,x,1,0\ne,z,1,0\n", Counting())
    disliking = read(tmp_path, f"{likes}e,w,1,0\ne,x,1,0\ne,z,1,0\ne,y,-5,0\n", Counting())
    scores = [model.user_factors[4] @ model.item_factors[2] for model in map(train, (indifferent, disliking))]
    assert scores[1] < scores[0]
    returned = read(tmp_path, f"{likes}e,z,1,0\ne,y,2,0\ne,y,-2,0\n", Counting())
    assert as_dict(returned)["e", "y"] == 0


def test_what_is_not_liked_is_no_hit(tmp_path: Path) -> None:
    """Of held-out pairs only those of positive weight count: nobody wants to be recommended what they dislike."""
    rows = "".join(f"{user},{item},{1 if item < 4 else -1},{item}\n" for user in "ab" for item in range(5))
    found = read(tmp_path, rows, Counting())
    remaining, held_out = hold_out(found)
    ones = np.ones((2, 1), np.float32), np.ones((5, 1), np.float32)
    with pytest.raises(TrainingError, match="Nothing can be evaluated"):
        evaluate(*ones, remaining.weights, held_out)
