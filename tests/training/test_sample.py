"""The sample shop."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import TrainingError
from service.training.als import train
from service.training.interactions import Interactions, read_interactions
from service.training.plan import Plan
from service.training.recipe import Recipe
from service.training.sample import GENRES, SamplePaths, write_sample


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file by column."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def contents(paths: SamplePaths) -> tuple[bytes, bytes]:
    """Return both files' bytes."""
    return paths.items.read_bytes(), paths.interactions.read_bytes()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> SamplePaths:
    """Write a shop of 1,200 readers and 240 titles once for the tests that only read it."""
    return write_sample(tmp_path_factory.mktemp("shop"), users=1200, items=240, seed=7)


@pytest.fixture(scope="module")
def interactions(shop: SamplePaths) -> Interactions:
    """Read the shop's interactions."""
    return read_interactions([shop.interactions])


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    """A seed names one shop, byte for byte; another seed is another shop."""
    first, again, other = (
        contents(write_sample(tmp_path / name, users=50, items=60, seed=seed))
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    assert first == again
    assert first[0] != other[0]
    assert first[1] != other[1]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(users=st.integers(1, 20), items=st.integers(1, 1200), seed=st.integers(0, 2**32))
def test_every_shop_is_consistent(tmp_path: Path, users: int, items: int, seed: int) -> None:
    """Of whatever size: ids are unique, readers have only what the shop has, and nothing twice."""
    paths = write_sample(tmp_path, users=users, items=items, seed=seed)
    catalogue, had = rows_of(paths.items), rows_of(paths.interactions)
    ids = {row["item_id"] for row in catalogue}
    assert len(catalogue) == len(ids) == items
    pairs = [(row["user_id"], row["item_id"]) for row in had]
    assert len(pairs) == len(set(pairs))
    assert {item for _, item in pairs} <= ids
    assert len({user for user, _ in pairs}) == users
    assert {row["quantity"] for row in had} <= {"1", "2", "3"}


def test_an_item_id_can_be_read(shop: SamplePaths) -> None:
    """An item id is the genre and the title, in characters that need no escaping in a URL."""
    for row in rows_of(shop.items):
        assert row["genre"] in GENRES
        assert row["item_id"].startswith(f"{row['genre']}-the-")
        assert set(row["item_id"]) <= set("abcdefghijklmnopqrstuvwxyz-")
        assert row["title"].lower().replace("'", "").replace(" ", "-") == row["item_id"].removeprefix(
            f"{row['genre']}-"
        )


def test_every_item_is_described(shop: SamplePaths) -> None:
    """The catalog has a price, a date, an age, formats and the availability of each item, as people write them."""
    rows = rows_of(shop.items)
    assert all(1 < float(row["price"]) < 40 for row in rows)
    assert all("2005-01-01" <= row["released"] <= "2026-11-30" for row in rows)
    assert {row["age"] for row in rows} == {"0", "3", "12", "14", "16"}
    assert {each for row in rows for each in row["formats"].split("|")} == {"paperback", "ebook", "audiobook"}
    assert 1 <= [row["available"] for row in rows].count("false") < 0.1 * len(rows)
    assert {row["available"] for row in rows} == {"true", "false"}


def test_genres_are_stocked_evenly(shop: SamplePaths) -> None:
    """No genre is recommended more only because the shop has more of it."""
    genres = [row["genre"] for row in rows_of(shop.items)]
    assert {genres.count(genre) for genre in GENRES} == {240 // len(GENRES)}


@pytest.mark.parametrize("items", [0, 1201])
def test_more_titles_than_there_are(tmp_path: Path, items: int) -> None:
    """A catalogue that cannot be made is refused in one sentence, before anything is written."""
    with pytest.raises(TrainingError, match=f"^A sample shop has 1 to 1200 items, not {items}\\.$"):
        write_sample(tmp_path / "shop", items=items)
    assert not (tmp_path / "shop").exists()


def test_some_titles_are_far_more_popular(interactions: Interactions) -> None:
    """A tenth of the titles is taken at least half as often as the less popular half together."""
    popularity = np.sort(np.bincount(interactions.weights.indices))[::-1]
    assert popularity[:24].sum() > popularity[-120:].sum() / 2


def test_als_learns_more_than_popularity(interactions: Interactions) -> None:
    """There is taste to be learned: ALS finds held-out titles at least twice as often as bestsellers do."""
    found = Recipe([]).evaluate(interactions, Plan())
    assert found.als.recall > 2 * found.popular.recall > 0


def test_recommendations_are_in_the_readers_genres(interactions: Interactions) -> None:
    """A reader of space operas gets space operas: most recommendations are of what the reader has most of."""
    genres = np.array([item.rsplit("-the-", 1)[0] for item in interactions.item_ids])
    recommended, _ = train(interactions).als.recommend(
        np.arange(len(interactions.user_ids)), interactions.weights, N=10
    )
    of_taste = []
    for user, items in enumerate(recommended):
        had, counts = np.unique(genres[interactions.weights[user].indices], return_counts=True)
        of_taste.append(np.isin(genres[items], had[np.argsort(-counts)[:3]]).mean())
    base_rate = 3 / len(GENRES)
    assert np.mean(of_taste) > 3 * base_rate
