"""Top-N with early stopping next to a full scan with implicit.cpu.topk: the same answers, microseconds a query.

    OPENBLAS_NUM_THREADS=1 python -m tests.benchmarks.scoring [--gowalla train.csv.gz] [--cache DIR] [--n 10]

Models: Gowalla check-ins (``user_id,item_id`` with a header), trained by implicit with its default alpha and
regularization in 5 iterations; a million items whose norms fall off with popularity rank as they do in that
model, (1 + rank / 10)^-0.35, in random directions; and Gaussian factors, whose norms hardly differ, so that
the scan can never stop early. What a user already had is left out by both. Both take turns in the
same run, 20 queries at a time, five times over; a query counts with the fastest of the five, because on a
shared machine the others tell of its neighbours. Every answer is compared.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import TypeAlias

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from implicit.cpu.topk import topk
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from service.model.arranging import arrange
from service.model.factors import Factors, Float32, Seen
from service.model.model import Model
from service.model.scoring import scoring
from tests.benchmarks.made import als_like, gaussian
from tests.support.models import make_seen

Answer: TypeAlias = Callable[[Model, int, int], scoring.Ranked]

TURN, ROUNDS = 20, 5
USERS, SEEN_PER_USER = 2000, 30


def gowalla(path: Path, factors: int, cache: Path | None) -> Model:
    """Train on check-ins, or take the factors of an earlier run from the cache."""
    users, items = np.loadtxt(path, np.int32, delimiter=",", skiprows=1, unpack=True)
    had = csr_matrix((np.ones(len(users), np.float32), (users, items)))
    had.sort_indices()
    kept = cache / f"gowalla-{factors}.npz" if cache else None
    if kept is None or not kept.exists():
        model = AlternatingLeastSquares(factors=factors, iterations=5, random_state=0)
        model.fit(had, show_progress=False)
        user_factors, item_factors = model.user_factors, model.item_factors
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.savez(kept, users=user_factors, items=item_factors)
    else:
        with np.load(kept) as arrays:
            user_factors, item_factors = arrays["users"], arrays["items"]
    seen = Seen(had.indptr.astype(np.int64), had.indices.astype(np.int32), had.data)
    return with_factors(user_factors, item_factors, seen)


def generated(items: int, factors: int, *, falling: bool) -> Model:
    """Make Gaussian factors, the items' norms falling with their rank or left as they are."""
    users, made = als_like(USERS, items, factors, seed=0) if falling else gaussian(USERS, items, factors, seed=0)
    rng = np.random.default_rng(0)
    return with_factors(users, made, make_seen(rng, USERS, items, USERS * SEEN_PER_USER))


def with_factors(users: Float32, items: Float32, seen: Seen) -> Model:
    """Lay factors out for serving, with row numbers as ids."""
    return arrange(Factors(users, items, np.arange(len(users)), np.arange(len(items)), seen, 0.01, 1.0))


def ours(model: Model, user: int, n: int) -> scoring.Ranked:
    """Answer as the server does."""
    return scoring.recommend(model, user, n)


def full_scan(model: Model, user: int, n: int) -> scoring.Ranked:
    """Answer with one call of topk over all items."""
    had = model.seen.of(user) if model.seen else None
    rows, scores = topk(model.item_factors, model.user_factors[user][None], n, filter_items=had)
    return scoring.Ranked(rows[0], scores[0], len(model.item_factors))


def assert_same(found: scoring.Ranked, expected: scoring.Ranked) -> None:
    """Require the same items; two may change places where their scores differ by rounding only."""
    close = 1e-5 * float(np.abs(expected.scores).max())
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=close)
    for row in set(found.rows.tolist()) ^ set(expected.rows.tolist()):
        either = found if row in found.rows else expected
        assert abs(either.scores[either.rows == row][0] - expected.scores[-1]) <= close


def timed(answer: Answer, model: Model, users: list[int], n: int) -> tuple[list[scoring.Ranked], list[int]]:
    """Return the answers of these queries and the nanoseconds that each took."""
    answers, nanoseconds = [], []
    for user in users:
        begin = perf_counter_ns()
        answers.append(answer(model, user, n))
        nanoseconds.append(perf_counter_ns() - begin)
    return answers, nanoseconds


def in_turns(model: Model, users: list[int], n: int) -> NDArray[np.float64]:
    """Return (our microseconds, topk's microseconds, rows that we scanned) of every query, [3, queries]."""
    rounds, scanned = [], []
    for start in range(0, len(users), TURN):
        turn = users[start : start + TURN]
        both = [(timed(ours, model, turn, n), timed(full_scan, model, turn, n)) for _ in range(ROUNDS)]
        rounds.append(np.min([(mine, theirs) for (_, mine), (_, theirs) in both], axis=0) / 1000)
        for found, expected in zip(both[0][0][0], both[0][1][0], strict=True):
            assert_same(found, expected)
            scanned.append(found.scanned)
    return np.vstack((np.hstack(rounds), scanned))


def report(name: str, model: Model, queries: int, n: int) -> None:
    """Print one line of the table."""
    users = np.random.default_rng(1).permutation(len(model.user_factors))[:queries].tolist()
    mine, theirs, scanned = in_turns(model, users, n)
    print(
        f"{name:<22} {np.median(mine):>10.1f} {mine.mean():>10.1f} {np.median(theirs):>10.1f} {theirs.mean():>10.1f} "
        f"{np.median(theirs) / np.median(mine):>8.2f} {theirs.sum() / mine.sum():>8.2f} {scanned.mean():>10.0f}",
        flush=True,
    )


def main() -> None:
    """Measure every model and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gowalla", type=Path, help="check-ins to train on, .csv or .csv.gz")
    parser.add_argument("--cache", type=Path, help="a directory to keep trained factors in")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--n", type=int, default=10)
    options = parser.parse_args()
    print(f"{'microseconds a query':<22} {'ours':>10} {'(mean)':>10} {'topk':>10} {'(mean)':>10} ", end="")
    print(f"{'times':>8} {'(mean)':>8} {'rows':>10}")
    for factors in (50, 128) if options.gowalla else ():
        model = gowalla(options.gowalla, factors, options.cache)
        report(f"Gowalla 41k x {factors}", model, options.queries, options.n)
    report("Gaussian 41k x 50", generated(41_000, 50, falling=False), options.queries, options.n)
    few = max(TURN, options.queries // 10)
    report("falling norms 1M x 64", generated(1_000_000, 64, falling=True), few, options.n)
    report("Gaussian 1M x 64", generated(1_000_000, 64, falling=False), few, options.n)


if __name__ == "__main__":
    main()
