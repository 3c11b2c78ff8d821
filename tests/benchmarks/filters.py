"""A top 10 of a part of the items: by a list of rows, by a mask, and by NumPy; microseconds a query.

    OPENBLAS_NUM_THREADS=1 python -m tests.benchmarks.filters MODEL.npz [--queries 100]

Eligible items are drawn by chance. All take turns in the same run; a query counts with the fastest of five rounds, and
the median over queries is printed. All three give the same answers, to the last bit.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns

import numpy as np

from service.model.model import Model
from service.model.scoring import blocks, kernel, scoring
from service.model.scoring.ranking import NO_ROWS, Eligible, Mask
from tests.benchmarks.made import read_model

N, ROUNDS = 10, 5
SHARES = (0.01, 0.1, 0.3, 0.5, 0.99)


def microseconds(answer: Callable[[], object]) -> float:
    """Return how long one query takes."""
    begin = perf_counter_ns()
    answer()
    return (perf_counter_ns() - begin) / 1000


def answers(model: Model, user: int, mask: Mask) -> list[Callable[[], scoring.Ranked]]:
    """Return the ways to answer one query: by a list, by a mask, by NumPy."""
    without = model.seen.of(user) if model.seen else NO_ROWS

    def by_kernel(eligible: Eligible) -> Callable[[], scoring.Ranked]:
        return lambda: scoring.recommend(model, user, N, eligible=eligible)

    listed = np.flatnonzero(mask).astype(np.int32)
    return [
        by_kernel(listed),
        by_kernel(mask),
        lambda: blocks.top_n(model, model.user_factors[user], N, without, mask),
    ]


def report(model: Model, users: list[int], share: float) -> None:
    """Print one line of the table."""
    mask = np.random.default_rng(3).random(len(model.item_factors)) < share
    best = []
    for user in users:
        ways = answers(model, user, mask)
        found = [way() for way in ways]
        assert all(one.scores.tobytes() == found[0].scores.tobytes() for one in found)
        best.append(np.min([[microseconds(way) for way in ways] for _ in range(ROUNDS)], axis=0))
    print(f"{share:>8.0%}" + "".join(f"{median:>10.1f}" for median in np.median(best, axis=0)), flush=True)


def main() -> None:
    """Measure every share and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a model file")
    parser.add_argument("--queries", type=int, default=100)
    options = parser.parse_args()
    assert kernel.library, "The kernel was not built"
    model = read_model(options.model)
    users = np.random.default_rng(1).permutation(len(model.user_factors))[: options.queries].tolist()
    print(f"{'eligible':>8}{'list':>10}{'mask':>10}{'NumPy':>10}")
    for share in SHARES:
        report(model, users, share)


if __name__ == "__main__":
    main()
