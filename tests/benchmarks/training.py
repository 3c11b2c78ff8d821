"""How long it takes to read ten million rows, and to train at the size of a real shop; and in how much memory.

    python -m tests.benchmarks.training [--rows 10000000]

The rows are synthetic: half a million users with text ids, 200,000 items with popularity like 1 / rank, a rating and a
time. The model has 18,902 users, 34,911 items and 50 factors, as that of the throughput benchmark. Each is measured
in a process of its own, whose largest resident size is given.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from service.training.als import train
from service.training.interactions import Interactions, read_interactions
from service.training.plan import Plan
from tests.benchmarks.made import interactions
from tests.benchmarks.throughput import FACTORS, ITEMS, PER_USER, SEED, USERS

_AT_ONCE = 1_000_000


def write_rows(path: Path, rows: int) -> None:
    """Write the synthetic rows."""
    rng = np.random.default_rng(SEED)
    with path.open("w") as file:
        file.write("user_id,item_id,rating,timestamp\n")
        for _ in range(0, rows, _AT_ONCE):
            columns = (
                rng.integers(0, 500_000, _AT_ONCE),
                rng.zipf(1.3, _AT_ONCE) % 200_000,
                rng.integers(1, 6, _AT_ONCE),
                rng.integers(1_500_000_000, 1_700_000_000, _AT_ONCE),
            )
            file.writelines(
                f"user-{user:07d},{item},{rating},{when}\n"
                for user, item, rating, when in zip(*(column.tolist() for column in columns), strict=True)
            )


def _read(path: Path) -> str:
    found = read_interactions([path])
    users, items = found.weights.shape
    return f"read {found.rows:,} rows: {users:,} users, {items:,} items, {found.weights.nnz:,} pairs"


def _train(_: Path) -> str:
    weights = interactions(USERS, ITEMS, PER_USER, SEED)
    model = train(Interactions(np.arange(USERS), np.arange(ITEMS), weights), Plan(factors=FACTORS))
    return (
        f"trained {USERS:,} × {ITEMS:,} × {FACTORS} on {weights.nnz:,} pairs, {model.parameters.iterations} iterations"
    )


def _measured(work: Callable[[Path], str], path: Path) -> None:
    started = time.perf_counter()
    done = work(path)
    seconds = time.perf_counter() - started
    print(f"{done}: {seconds:.1f} s, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB", flush=True)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="in millions")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "rows.csv"
        write_rows(path, options.rows)
        print(f"{path.stat().st_size / 1e6:.0f} MB of CSV")
        for work in (_read, _train):
            process = get_context("spawn").Process(target=_measured, args=(work, path))
            process.start()
            process.join()
            if process.exitcode:
                sys.exit(1)


if __name__ == "__main__":
    main()
