"""A top-N by the kernel, by NumPy, and as a full scan with implicit.cpu.topk: the same answers, microseconds a query.

    OPENBLAS_NUM_THREADS=1 python -m tests.benchmarks.scoring [MODEL.npz ...] [--n 10] [--queries 300]

Models: the files named, such as ``als-serve train`` makes; a million items whose norms fall off with popularity rank as
they do in a model of check-ins, (1 + rank / 10)^-0.35, in random directions; and Gaussian factors, whose norms hardly
differ, so that no scan ends early. What a user already had is left out by all. All take turns in the same run, 20
queries at a time, five times over; a query counts with the fastest of the five, because on a shared machine the others
tell of its neighbours. "cold" reads 8 MB between queries, as a server's other work does. Every answer is compared: the
kernel's with NumPy's to the last bit.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import TypeAlias

import numpy as np
from implicit.cpu.topk import topk

from service.model.model import Model
from service.model.scoring import blocks, kernel, scoring
from service.model.scoring.ranking import NO_ROWS
from tests.benchmarks.made import generated, read_model

Answer: TypeAlias = Callable[[Model, int, int], scoring.Ranked]

TURN, ROUNDS = 20, 5
_COLD = np.zeros(2**20)


def by_kernel(model: Model, user: int, n: int) -> scoring.Ranked:
    """Answer as the server does."""
    return scoring.recommend(model, user, n)


def by_numpy(model: Model, user: int, n: int) -> scoring.Ranked:
    """Answer as the server does without the kernel."""
    without = scoring.left_out(model, user, exclude_seen=True, exclude=NO_ROWS)
    return blocks.top_n(model, model.user_factors[user], n, without, None)


def full_scan(model: Model, user: int, n: int) -> scoring.Ranked:
    """Answer with one call of topk over all items."""
    had = model.seen.of(user) if model.seen else None
    rows, scores = topk(model.item_factors, model.user_factors[user][None], n, filter_items=had)
    return scoring.Ranked(rows[0], scores[0], len(model.item_factors))


ANSWERS: tuple[Answer, ...] = (by_kernel, by_numpy, full_scan)


def assert_close(found: scoring.Ranked, expected: scoring.Ranked) -> None:
    """Require the same items; two may change places where their scores differ by rounding only."""
    close = 1e-5 * float(np.abs(expected.scores).max())
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=close)
    for row in set(found.rows.tolist()) ^ set(expected.rows.tolist()):
        either = found if row in found.rows else expected
        assert abs(either.scores[either.rows == row][0] - expected.scores[-1]) <= close


def timed(answer: Answer, model: Model, users: list[int], n: int, *, cold: bool) -> list[float]:
    """Return the microseconds that each of these queries took."""
    microseconds = []
    for user in users:
        if cold:
            _COLD.sum()
        begin = perf_counter_ns()
        answer(model, user, n)
        microseconds.append((perf_counter_ns() - begin) / 1000)
    return microseconds


def compare(model: Model, users: list[int], n: int) -> list[tuple[int, int, int]]:
    """Require that all three give the same answers; return the rows scanned, and the bytes that each of ours read."""
    counts = []
    for user in users:
        kernels, numpys, all_items = (answer(model, user, n) for answer in ANSWERS)
        assert kernels.rows.tolist() == numpys.rows.tolist()
        assert kernels.scores.tobytes() == numpys.scores.tobytes()
        assert_close(kernels, all_items)
        counts.append((kernels.scanned, kernels.read, numpys.read))
    return counts


def report(name: str, model: Model, queries: int, n: int) -> None:
    """Print one line of the table: medians over queries, and the means of what was counted."""
    users = np.random.default_rng(1).permutation(len(model.user_factors))[:queries].tolist()
    best: list[list[float]] = [[] for _ in range(2 * len(ANSWERS))]
    for start in range(0, len(users), TURN):
        turn = users[start : start + TURN]
        rounds = [
            [timed(answer, model, turn, n, cold=cold) for answer in ANSWERS for cold in (False, True)]
            for _ in range(ROUNDS)
        ]
        for column, fastest in zip(best, np.min(rounds, axis=0), strict=True):
            column.extend(fastest)
    medians = [float(np.median(column)) for column in best]
    rows, ours, numpys = np.mean(compare(model, users[:100], n), axis=0)
    ratios = medians[2] / medians[0], medians[3] / medians[1], medians[4] / medians[0]
    print(f"{name:<26}" + "".join(f"{median:>9.1f}" for median in medians), end="")
    print(
        "".join(f"{ratio:>7.1f}" for ratio in ratios) + f"{rows:>10.0f}{ours / 1000:>9.0f}{numpys / 1000:>9.0f}",
        flush=True,
    )


def main() -> None:
    """Measure every model and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="*", help="model files")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--n", type=int, default=10)
    parser.add_argument("--items", type=int, default=1_000_000, help="how many items the generated models have")
    options = parser.parse_args()
    assert kernel.library, "The kernel was not built"
    names = ("int8", "cold", "NumPy", "cold", "topk", "cold", "NumPy/", "cold", "topk/", "rows", "kB", "NumPy kB")
    widths = (9, 9, 9, 9, 9, 9, 7, 7, 7, 10, 9, 9)
    print(f"n = {options.n:<22}" + "".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True)))
    for path in options.models:
        report(path.stem, read_model(path), options.queries, options.n)
    few = max(TURN, options.queries // 10)
    for falling, name in ((True, "falling norms"), (False, "Gaussian")):
        report(f"{name}, {options.items:,} x 64", generated(options.items, 64, falling=falling), few, options.n)


if __name__ == "__main__":
    main()
