"""A top 10 of a part of the items, chosen by a filter; microseconds a query, n = 10.

    OPENBLAS_NUM_THREADS=1 python -m tests.benchmarks.filters [MODEL.npz ...] [--queries 50] [--cold]

Without files, of two made-up models: 1M x 64 and 41k x 128, whose norms fall off. The catalog gives each item a random
number, and filters ask for those below a bound. ``filtered`` is a query whose filter is kept; for ``first``, the filter
is evaluated too. Next to them: the same query without a filter; by a list of rows and by a mask; and ``full scan``, all
scores by NumPy, without those of other items. A query counts with the fastest of five rounds, and the median over
queries is printed. Queries without a filter, with one and by a list take turns; what reads much more has rounds of its
own, or it would take the processor's cache from them. With --cold nobody has it: 32 MB are read before each query. All
filtered answers are the same, to the last bit.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter_ns

import numpy as np

from service.model.catalog.assortment import Assortment, assort
from service.model.catalog.catalog import Catalog, Column
from service.model.factors import Float32
from service.model.filtering.selection import Selection
from service.model.model import Model
from service.model.scoring import kernel, scoring
from service.model.scoring.ranking import NO_ROWS, Mask
from tests.benchmarks.made import generated, read_model

N, ROUNDS = 10, 5
SIZES = ((1_000_000, 64), (41_000, 128))
SHARES = (0.0001, 0.01, 0.1, 0.3, 0.5, 0.99)
WAYS = ("unfiltered", "filtered", "list", "mask", "first", "full scan")
# How many of them take turns.
TOGETHER = 3
ELSE_IN_CACHE = np.ones(2**22)


def microseconds(answer: Callable[[], object], *, cold: bool) -> float:
    """Return how long one query takes."""
    if cold:
        ELSE_IN_CACHE.sum()
    begin = perf_counter_ns()
    answer()
    return (perf_counter_ns() - begin) / 1000


def described(model: Model) -> Assortment:
    """Return the model's items with a random number each."""
    ids = model.item_ids.values
    keys = np.sort(ids.astype("S20") if model.item_ids.kind == "int" else ids)
    numbers = np.random.default_rng(3).random(len(keys))
    return assort(model, Catalog(keys, columns={"number": Column("number", numbers)}))


def full_scan(model: Model, user: int, mask: Mask) -> Float32:
    """Return the 10 greatest scores of all, the plain way."""
    scores = np.dot(model.item_factors, model.user_factors[user])
    scores[~mask] = -np.inf
    scores[model.seen.of(user) if model.seen else NO_ROWS] = -np.inf
    best: Float32 = scores[np.argpartition(scores, -N)[-N:]]
    return -np.sort(-best)


def ways(model: Model, user: int, assortment: Assortment, kept: Selection, text: str) -> list[Callable[[], object]]:
    """Return the ways to answer one query, in the order of WAYS."""
    mask = np.zeros(len(model.item_ids), np.bool_)
    mask[kept.matching(text)] = True
    listed = np.flatnonzero(mask).astype(np.int32)
    return [
        lambda: scoring.recommend(model, user, N),
        lambda: scoring.recommend(model, user, N, eligible=kept.matching(text)),
        lambda: scoring.recommend(model, user, N, eligible=listed),
        lambda: scoring.recommend(model, user, N, eligible=mask),
        lambda: scoring.recommend(model, user, N, eligible=Selection(assortment).matching(text)),
        lambda: full_scan(model, user, mask),
    ]


def fastest(answers: list[Callable[[], object]], *, cold: bool) -> list[float]:
    """Return the microseconds of each, which take turns."""
    rounds = [[microseconds(answer, cold=cold) for answer in answers] for _ in range(ROUNDS)]
    return [min(times) for times in zip(*rounds, strict=True)]


def report(model: Model, assortment: Assortment, users: list[int], share: float, *, cold: bool) -> None:
    """Print one line of the table."""
    text, kept, best = f"number < {share}", Selection(assortment), []
    for user in users:
        answers = ways(model, user, assortment, kept, text)
        found = [answer() for answer in answers[1:5]]
        assert len({answer.scores.tobytes() for answer in found if isinstance(answer, scoring.Ranked)}) == 1
        groups = [answers[:TOGETHER], *([answer] for answer in answers[TOGETHER:])]
        best.append([time for group in groups for time in fastest(group, cold=cold)])
    print(f"{share:>8.2%}" + "".join(f"{median:>12.1f}" for median in np.median(best, axis=0)), flush=True)


def main() -> None:
    """Measure every share of every model and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="*", help="model files")
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--cold", action="store_true", help="read much else before each query")
    options = parser.parse_args()
    assert kernel.library, "The kernel was not built"
    makers: dict[str, Callable[[], Model]] = {str(path): partial(read_model, path) for path in options.models}
    for items, factors in () if options.models else SIZES:
        makers[f"{items} x {factors}"] = partial(generated, items, factors, falling=True)
    for name, make in makers.items():
        model = make()
        assortment = described(model)
        users = np.random.default_rng(1).permutation(len(model.user_factors))[: options.queries].tolist()
        print(f"{name}\n{'eligible':>8}" + "".join(f"{way:>12}" for way in WAYS))
        for share in SHARES:
            report(model, assortment, users, share, cold=options.cold)


if __name__ == "__main__":
    main()
