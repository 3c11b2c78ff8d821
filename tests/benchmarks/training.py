"""How long it takes to train at the size of a real shop, and in how much memory; ``reading`` measures what is before.

    python -m tests.benchmarks.training

The model has 18,902 users, 34,911 items and 50 factors, as that of the throughput benchmark.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from service.training.als import train
from service.training.interactions import Interactions
from service.training.plan import Plan
from tests.benchmarks.made import interactions
from tests.benchmarks.throughput import FACTORS, ITEMS, PER_USER, SEED, USERS


def main() -> None:
    """Run the benchmark."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    weights = interactions(USERS, ITEMS, PER_USER, SEED)
    started = time.perf_counter()
    model = train(Interactions(np.arange(USERS), np.arange(ITEMS), weights), Plan(factors=FACTORS))
    seconds, size = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    shape = f"{USERS:,} × {ITEMS:,} × {FACTORS} on {weights.nnz:,} pairs, {model.parameters.iterations} iterations"
    print(f"trained {shape}: {seconds:.1f} s, {size:.0f} MB")


if __name__ == "__main__":
    main()
