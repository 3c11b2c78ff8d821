"""Titles are found by the beginnings of their words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.model import title_search
from service.model.title_search import search

# Letters of one to four bytes whose other case is as long or not, digits, and what is between words.
LETTERS = "aAbBéÉωΩⱥȺ𐐀𐐨1"
BETWEEN = " -'“—«、"
texts = st.text(LETTERS + BETWEEN, max_size=12)
queries = st.text(LETTERS + BETWEEN, min_size=1, max_size=4).filter(lambda query: query.strip())


def arranged(titles: list[str]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return where titles start in their text, and the text."""
    encoded = [title.encode() for title in titles]
    return np.cumsum([0, *map(len, encoded)]).astype(np.int64), np.frombuffer(b"".join(encoded), np.uint8)


def found(titles: list[str], query: str) -> list[int]:
    """Return the places of all that match."""
    return [place for places in search(*arranged(titles), query) for place in places.tolist()]


def matches(title: str, query: str) -> bool:
    """Say the same of one title, a character after the other."""
    wanted = " ".join(query.split()).lower()
    begins = [place for place in range(len(title)) if place == 0 or title[place - 1] not in LETTERS]
    return any(title[place:].lower().startswith(wanted) for place in begins)


@example(titles=["", "a", ""], query="a", sizes=(1, 1))
@given(
    titles=st.lists(texts, max_size=8),
    query=queries,
    sizes=st.sampled_from([(2**21, 2**17), (16, 5), (1, 1)]),
)
def test_a_title_is_found_by_the_beginnings_of_its_words(titles: list[str], query: str, sizes: tuple[int, int]) -> None:
    """Whatever is between them and whatever the case, in however many blocks: those and no others, in their order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(title_search, "_BLOCK_BYTES", sizes[0])
        patch.setattr(title_search, "_PIECE_BYTES", sizes[1])
        assert found(titles, query) == [place for place, title in enumerate(titles) if matches(title, query)]


@pytest.mark.parametrize(
    ("title", "query"),
    [
        ("The Horror Tales", "horr"),
        ("The Horror Tales", "HORROR  t"),
        ("The Horror Tales", " the horror tales "),
        ("Spider-Man (2002)", "man"),
        ("Spider-Man (2002)", "2002"),
        ("STRASSE", "straße"),
        ("Straße", "straß"),
        ("Ὀδυσσεύς", "ὀδ"),
        ("Война и мир", "МИР"),
        ("Café", "cafe\u0301"),
        ("🛒 cart", "🛒"),
    ],
)
def test_people_find_what_they_look_for(title: str, query: str) -> None:
    """By a word or several, in either case, in any alphabet."""
    assert found(["", title, "nothing"], query) == [1]


@pytest.mark.parametrize("query", ["orror", "the tales", "horrors", "horror tales of", "a" * 5000])
def test_the_middle_of_a_word_finds_nothing(query: str) -> None:
    """Nor do words that do not follow each other, or more than there is."""
    assert found(["The Horror Tales", " of the sea"], query) == []
