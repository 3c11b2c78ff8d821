"""Recommendations for many users: together, one by one, and with implicit.cpu.topk; microseconds a user, one thread.

    OPENBLAS_NUM_THREADS=1 python -m tests.benchmarks.batches [MODEL.npz ...] [--users 1000] [--n 10] [--rounds 5]

The models are those of tests.benchmarks.scoring. All take turns in the same run; medians of the rounds, of the thread's
processor time. Every answer together is compared with the one alone, to the last bit.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import thread_time_ns

import numpy as np
from implicit.cpu.topk import topk
from scipy.sparse import csr_matrix

from service.model.factors import Int32
from service.model.model import Model
from service.model.scoring import scoring
from service.model.scoring.batches import recommend_many
from tests.benchmarks.made import generated, read_model


def together(model: Model, users: Int32, n: int) -> list[scoring.Ranked]:
    """Answer as POST /v1/recommendations does."""
    return [ranked for turn in recommend_many(model, users, n) for ranked in turn]


def alone(model: Model, users: Int32, n: int) -> list[scoring.Ranked]:
    """Answer as GET .../recommendations does."""
    return [scoring.recommend(model, user, n) for user in users.tolist()]


def with_topk(model: Model, n: int) -> Callable[[Int32], object]:
    """Return what answers with one call of topk."""
    assert model.seen
    shape = len(model.user_factors), len(model.item_factors)
    had = csr_matrix((model.seen.weights, model.seen.items, model.seen.indptr), shape, copy=False)
    return lambda users: topk(
        model.item_factors, model.user_factors[users], n, filter_query_items=had[users], num_threads=1
    )


def microseconds(answer: Callable[[Int32], object], users: Int32) -> float:
    """Return the processor time for each user."""
    begin = thread_time_ns()
    answer(users)
    return (thread_time_ns() - begin) / 1000 / len(users)


def report(name: str, model: Model, users: Int32, n: int, rounds: int) -> None:
    """Print one line of the table."""
    for one, other in zip(together(model, users[:100], n), alone(model, users[:100], n), strict=True):
        assert one.rows.tolist() == other.rows.tolist()
        assert one.scores.tobytes() == other.scores.tobytes()
    answers: list[Callable[[Int32], object]] = [
        lambda users: together(model, users, n),
        lambda users: alone(model, users, n),
        with_topk(model, n),
    ]
    measured = [[microseconds(answer, users) for answer in answers] for _ in range(rounds)]
    ours, one_by_one, implicits = (median(column) for column in zip(*measured, strict=True))
    ratio = median(row[2] / row[0] for row in measured)
    print(f"{name:<26}{ours:>10.1f}{one_by_one:>12.1f}{implicits:>10.1f}{ratio:>10.2f}", flush=True)


def main() -> None:
    """Measure every model and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="*", help="model files")
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--n", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--items", type=int, default=1_000_000, help="how many items the generated models have")
    options = parser.parse_args()
    print(f"n = {options.n:<22}{'together':>10}{'one by one':>12}{'topk':>10}{'times':>10}")

    def measure(name: str, model: Model, users: int) -> None:
        chosen = np.random.default_rng(2).permutation(len(model.user_factors))[:users].astype(np.int32)
        report(name, model, chosen, options.n, options.rounds)

    for path in options.models:
        measure(path.stem, read_model(path), options.users)
    few = max(64, options.users // 10)
    for falling, name in ((True, "falling norms"), (False, "Gaussian")):
        measure(f"{name}, {options.items:,} x 64", generated(options.items, 64, falling=falling), few)


if __name__ == "__main__":
    main()
