"""Recommendations in a session next to anonymous ones: microseconds a request without HTTP, and their ratio.

    OPENBLAS_NUM_THREADS=1 python -m tests.benchmarks.sessions [MODEL.npz ...] [--users 300] [--now 3] [--rounds 5]

An anonymous request gives as many items as the session and what the user had have together. Both take turns in the same
run; medians over users, of the fastest of the rounds, of the thread's processor time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from time import thread_time_ns

import numpy as np

from service.model.factors import Int32
from service.model.model import Model
from service.model.scoring import scoring
from tests.benchmarks.made import generated, read_model


def in_a_session(model: Model, user: int, now: Int32) -> scoring.Ranked:
    """Answer as POST /v1/users/{user}/recommendations does."""
    assert model.seen
    rows = np.concatenate((model.seen.of(user), now))
    weights = np.concatenate((model.seen.weights_of(user), np.ones(len(now), np.float32)))
    return scoring.top_n(model, scoring.fold_in(model, rows, weights), 10, without=np.unique(rows))


def anonymous(model: Model, user: int, now: Int32) -> scoring.Ranked:
    """Answer as POST /v1/recommendations/anonymous does, with as many items."""
    assert model.seen
    rows = (np.arange(len(now) + len(model.seen.of(user))) * 7 % len(model.item_ids)).astype(np.int32)
    vector = scoring.fold_in(model, rows, np.ones(len(rows), np.float32))
    return scoring.top_n(model, vector, 10, without=np.union1d(rows, np.empty(0, np.int32)))


def microseconds(answer: Callable[[Model, int, Int32], object], model: Model, user: int, now: Int32) -> float:
    """Return the processor time of one answer."""
    begin = thread_time_ns()
    answer(model, user, now)
    return (thread_time_ns() - begin) / 1000


def report(name: str, model: Model, users: int, now: int, rounds: int) -> None:
    """Print one line of the table."""
    rng = np.random.default_rng(1)
    best = np.full((users, 2), np.inf)
    for place, user in enumerate(rng.integers(0, len(model.user_ids), users).tolist()):
        given = rng.integers(0, len(model.item_ids), now, dtype=np.int32)
        for _ in range(rounds):
            both = [microseconds(answer, model, user, given) for answer in (in_a_session, anonymous)]
            best[place] = np.minimum(best[place], both)
    session, other = np.median(best, axis=0)
    print(f"{name:<26}{session:>10.1f}{other:>12.1f}{session / other:>8.2f}", flush=True)


def main() -> None:
    """Measure every model and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="*", help="model files with seen items")
    parser.add_argument("--users", type=int, default=300)
    parser.add_argument("--now", type=int, default=3, help="how many items the session has")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{'':<26}{'session':>10}{'anonymous':>12}{'ratio':>8}")
    for path in options.models:
        report(path.stem, read_model(path), options.users, options.now, options.rounds)
    report("generated, 50,000 x 64", generated(50_000, 64, falling=True), options.users, options.now, options.rounds)


if __name__ == "__main__":
    main()
