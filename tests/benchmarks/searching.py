"""Searching titles, and finding an item's audience: milliseconds of one thread, without HTTP, and the longest turn.

    OPENBLAS_NUM_THREADS=1 python -m tests.benchmarks.searching [--titles 1000000] [--users 1000000] [--rounds 5]

The titles are made of 30,000 made-up words, five in each; the users have 64 Gaussian factors and had 20 items each.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from time import thread_time_ns

import numpy as np

from service.model.arranging import arrange
from service.model.factors import Factors, Seen
from service.model.model import Model
from service.model.scoring import scoring
from service.model.title_search import search
from tests.benchmarks.made import as_served, gaussian

_WORDS, _IN_TITLE, _HAD, _ITEMS = 30_000, 5, 20, 1000
_QUERIES = ("horr", "the horr", "zq", "straße", "é", "t")


def titles(count: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], np.ndarray[tuple[int], np.dtype[np.uint8]]]:
    """Return where so many titles start in their text, and the text."""
    rng = np.random.default_rng(0)
    letters = rng.integers(ord("a"), ord("z") + 1, (_WORDS, 9), dtype=np.uint8)
    words = [row[:length].tobytes().title() for row, length in zip(letters, rng.integers(3, 10, _WORDS), strict=True)]
    made = [b" ".join(words[word] for word in row) for row in rng.integers(0, _WORDS, (count, _IN_TITLE)).tolist()]
    starts = np.concatenate(([0], np.cumsum(np.fromiter(map(len, made), np.int64, count))))
    return starts, np.frombuffer(b"".join(made), np.uint8)


def with_users(count: int) -> Model:
    """Return a model of so many users."""
    users, items = gaussian(count, _ITEMS, 64, seed=0)
    had = np.sort(np.random.default_rng(1).integers(0, _ITEMS // _HAD, (count, _HAD)), axis=1) * _HAD + np.arange(_HAD)
    seen = Seen(np.arange(count + 1) * _HAD, had.astype(np.int32).ravel(), np.ones(count * _HAD, np.float32))
    return as_served(arrange(Factors(users, items, np.arange(count), np.arange(_ITEMS), seen, 0.01, 1.0)))


def measure(turns: Callable[[], Iterator[object]], rounds: int) -> tuple[float, float]:
    """Return the milliseconds of all turns, and of the longest, in the fastest round."""
    fastest = (np.inf, np.inf)
    for _ in range(rounds):
        times = [thread_time_ns(), *(thread_time_ns() for _ in turns())]
        fastest = min(fastest, ((times[-1] - times[0]) / 1e6, float(np.diff(times).max()) / 1e6))
    return fastest


def main() -> None:
    """Measure and print a line for each query, and one for an audience."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--titles", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    starts, text = titles(options.titles)
    print(f"{options.titles:,} titles, {len(text) / 1e6:.1f} MB")
    for query in _QUERIES:
        took, longest = measure(partial(search, starts, text, query), options.rounds)
        print(f"{query:<26}{took:>8.1f}{longest:>8.1f}", flush=True)
    model = with_users(options.users)
    took, longest = measure(lambda: scoring.audience(model, 0, 10), options.rounds)
    print(f"{f'audience, {options.users:,} users':<26}{took:>8.1f}{longest:>8.1f}")


if __name__ == "__main__":
    main()
