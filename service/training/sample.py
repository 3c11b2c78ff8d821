"""The sample shop: a made-up bookshop with readable titles, and readers with tastes.

It replaces your own data: large enough for a model to learn something, small enough to train in seconds, and readable,
so that anyone can judge a recommendation.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.errors import TrainingError

Float64: TypeAlias = NDArray[np.float64]

#: A genre's titles are "The <adjective> <noun>", from these two lists.
GENRES: dict[str, tuple[str, str]] = {
    "space-opera": (
        "Silent Distant Burning Frozen Hollow Orbiting Stolen Infinite Drifting Last",
        "Harbour Comet Fleet Moon Signal Nebula Starship Colony Horizon Engine",
    ),
    "detective": (
        "Missing Locked Bloodless Borrowed Second Crooked Vanishing Careful Unsigned Patient",
        "Witness Alibi Ledger Inspector Verdict Motive Telegram Suspect Footprint Revolver",
    ),
    "epic-fantasy": (
        "Gilded Sleeping Shattered Elder Thorned Nameless Crowned Winter Whispering Iron",
        "Dragon Throne Oath Sorcerer Citadel Rune Wyrm Heir Sword Prophecy",
    ),
    "romance": (
        "Unexpected Tender Summer Secret Reluctant Midnight Hopeful Rainy Perfect Second-Hand",
        "Kiss Proposal Waltz Valentine Heart Wedding Bouquet Letter Admirer Honeymoon",
    ),
    "horror": (
        "Crawling Rotting Faceless Hungry Buried Screaming Pale Unblinking Damp Seventh",
        "Cellar Grave Doll Asylum Shadow Mirror Corpse Nursery Whistle Crypt",
    ),
    "history": (
        "Roman Forgotten Medieval Imperial Industrial Ottoman Bronze-Age Colonial Revolutionary Long",
        "Century Republic Siege Treaty Dynasty Parliament Rebellion Plague Archive Census",
    ),
    "travel": (
        "Slow Dusty Northern Overnight Unmapped Coastal Wandering Southern Border High",
        "Railway Passport Ferry Caravan Road Island Compass Monsoon Pilgrimage Suitcase",
    ),
    "cookery": (
        "Weekday Slow-Cooked Spicy Sunday Vegetarian Crispy Grandmother's Rustic Sweet One-Pot",
        "Kitchen Supper Loaf Pantry Dumpling Feast Casserole Oven Pickle Dessert",
    ),
    "gardening": (
        "Shaded Walled Wild Edible Balcony Dry Cottage Evergreen Blooming Small",
        "Garden Orchard Hedge Compost Greenhouse Meadow Rosebed Allotment Pond Seedling",
    ),
    "poetry": (
        "Barefoot Broken Luminous Unrhymed Quiet Blue Wingless Scattered Late Salted",
        "Sonnet Elegy Sparrow Ode Verse Lullaby Psalm Stanza Metaphor Hymn",
    ),
    "popular-science": (
        "Curious Quantum Probable Selfish Invisible Elegant Chemical Relative Cellular Chaotic",
        "Atom Genome Equation Theory Universe Neuron Particle Molecule Microscope Species",
    ),
    "picture-book": (
        "Giggling Tiny Sleepy Spotted Brave Wobbly Grumpy Fluffy Upside-Down Polite",
        "Bear Penguin Tractor Dinosaur Mitten Duckling Puddle Elephant Balloon Teddy",
    ),
}

#: Readers are called "<name>-<four digits>".
NAMES = (
    *("ana", "ben", "chloe", "dara", "emil", "farah", "goran", "hana", "ines", "jonas", "kaya", "liam", "mina"),
    *("noor", "olga", "pavel", "qiang", "rosa", "samir", "tove", "uma", "viktor", "wanda", "ximena", "yusuf"),
    "zofia",
)

_TASTE_SHARE = 0.9  # the rest of a reader's choices follow overall popularity
_ZIPF_EXPONENT = 0.7
_FEWEST_TITLES, _MEAN_MORE_TITLES, _MOST_TITLES = 6, 14, 60
_ONE_TWO_THREE_COPIES = (0.85, 0.11, 0.04)


# The price of a paperback is near that of its genre: the first one's, and so on.
_PRICES = (9.0, 8.5, 11.0, 7.5, 8.0, 18.0, 14.0, 22.0, 17.0, 12.0, 13.0, 10.0)
_READERS_FROM = {"picture-book": 3, "horror": 16, "detective": 12, "romance": 14}
_FORMATS = ("paperback", "ebook", "audiobook")
_SHARE_OF_FORMATS = (0.95, 0.7, 0.3)
_FIRST_RELEASE, _LAST_RELEASE = date(2005, 1, 1), date(2026, 11, 30)
_SHARE_IN_STOCK = 0.95


@dataclass(frozen=True, slots=True)
class SamplePaths:
    """The paths of the sample shop's files: the catalog, a row for each item, and ``user_id,item_id,quantity``."""

    items: Path
    interactions: Path


@dataclass(frozen=True, slots=True)
class _Item:
    item_id: str
    title: str
    genre: str


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the catalog; the fields are its columns."""

    item_id: str
    title: str
    genre: str
    price: float
    released: date
    age: int
    formats: str
    available: str


def write_sample(directory: Path, *, users: int = 3000, items: int = 600, seed: int = 0) -> SamplePaths:
    """Write the catalog and the interactions as CSV files; the same numbers give the same bytes.

    The items are spread evenly over the genres. Raises TrainingError if there are too few titles, or if the directory
    is not writable.
    """
    random = np.random.default_rng(seed)
    catalogue = _catalogue(items, random)
    paths = SamplePaths(directory / "items.csv", directory / "interactions.csv")
    described = map(astuple, _described(catalogue, np.random.default_rng([seed, 1])))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _write_csv(paths.items, tuple(field.name for field in fields(_Row)), described)
        header = ("user_id", "item_id", "quantity")
        _write_csv(paths.interactions, header, _interactions(catalogue, users, random))
    except OSError as error:
        raise TrainingError(
            f"The sample shop cannot be written to {directory}: {error.strerror}; name another directory."
        ) from None
    return paths


def _catalogue(count: int, random: np.random.Generator) -> list[_Item]:
    """Take titles from every genre in turn, each genre's in random order."""
    shelves = [random.permutation(_titles(genre)).tolist() for genre in GENRES]
    available = sum(map(len, shelves))
    if not 1 <= count <= available:
        raise TrainingError(f"A sample shop has 1 to {available} items, not {count}.")
    in_turn = itertools.chain.from_iterable(zip(*shelves, strict=True))
    titled = zip(itertools.cycle(GENRES), itertools.islice(in_turn, count), strict=False)
    return [_Item(_slug(genre, title), title, genre) for genre, title in titled]


def _titles(genre: str) -> list[str]:
    adjectives, nouns = (words.split() for words in GENRES[genre])
    return [f"The {adjective} {noun}" for adjective in adjectives for noun in nouns]


def _slug(genre: str, title: str) -> str:
    words = title.lower().replace("'", "").replace(" ", "-")
    return f"{genre}-{words}"


def _described(catalogue: list[_Item], random: np.random.Generator) -> Iterable[_Row]:
    """Give each item a price, a date and the like."""
    prices = dict(zip(GENRES, _PRICES, strict=True))
    days = (_LAST_RELEASE - _FIRST_RELEASE).days
    for item in catalogue:
        usual = prices[item.genre]
        yield _Row(
            item.item_id,
            item.title,
            item.genre,
            price=round(usual * random.uniform(0.6, 1.6)) + 0.99,
            released=_FIRST_RELEASE + timedelta(days=int(days * random.beta(3, 1))),  # most are recent
            age=_READERS_FROM.get(item.genre, 0),
            formats="|".join(
                name for name, share in zip(_FORMATS, _SHARE_OF_FORMATS, strict=True) if random.random() < share
            )
            or _FORMATS[0],
            available="true" if random.random() < _SHARE_IN_STOCK else "false",
        )


def _interactions(catalogue: list[_Item], users: int, random: np.random.Generator) -> Iterable[tuple[str, str, int]]:
    """Let every reader choose titles without repeats, mostly from one to three genres and mostly popular ones."""
    genre_of = np.array([list(GENRES).index(item.genre) for item in catalogue])
    popularity = _popularity(len(catalogue), random)
    for user in range(users):
        user_id = f"{NAMES[user % len(NAMES)]}-{user:04d}"
        wanted = _taste(genre_of, popularity, random)
        more = random.geometric(1 / _MEAN_MORE_TITLES)
        count = min(_FEWEST_TITLES + int(more), _MOST_TITLES, len(catalogue))
        chosen = np.sort(random.choice(len(catalogue), size=count, replace=False, p=wanted))
        copies = random.choice((1, 2, 3), size=count, p=_ONE_TWO_THREE_COPIES)
        for item, quantity in zip(chosen, copies, strict=True):
            yield user_id, catalogue[item].item_id, int(quantity)


def _popularity(items: int, random: np.random.Generator) -> Float64:
    """Give each item a share of all interest, by Zipf's law over ranks dealt out at random."""
    ranks = random.permutation(items) + 1
    return _shares(ranks**-_ZIPF_EXPONENT)


def _taste(genre_of: NDArray[Any], popularity: Float64, random: np.random.Generator) -> Float64:
    """Return the probability that one reader takes each item."""
    stocked = np.unique(genre_of)
    liked = random.choice(stocked, size=min(int(random.integers(1, 4)), len(stocked)), replace=False)
    liking = np.zeros(len(GENRES))
    liking[liked] = random.dirichlet(np.full(len(liked), 3.0))
    return _TASTE_SHARE * _shares(liking[genre_of] * popularity) + (1 - _TASTE_SHARE) * popularity


def _shares(weights: NDArray[Any]) -> Float64:
    shares: Float64 = weights / weights.sum()
    return shares


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
