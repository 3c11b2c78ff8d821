"""Seconds and peak memory of the conversion of a model like Spark's, by the process that reads it.

python -m tests.benchmarks.convert [--users 195311] [--items 48980] [--factors 64] [--pairs 5000000] [--parts 10]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.spark import write_als_model

_SIZES = {"users": 195_311, "items": 48_980, "factors": 64, "pairs": 5_000_000, "parts": 10}


def _write(directory: Path, options: argparse.Namespace) -> None:
    """Write a model, labels for its users and items, and its interactions; no JVM is needed."""
    rng = np.random.default_rng(0)
    sizes = {"user": options.users, "item": options.items}
    factors = [rng.normal(0, 0.1, (count, options.factors)).astype(np.float32) for count in sizes.values()]
    numbers = [rng.permutation(count).astype(np.int32) for count in sizes.values()]
    write_als_model(directory / "model", factors[0], factors[1], options.parts, (numbers[0], numbers[1]))
    for name, count in sizes.items():
        labels = pa.array([f"{name}-{number:012d}" for number in range(count)])
        pq.write_table(pa.table({"id": np.arange(count), "label": labels}), directory / f"{name}s.parquet")
    seen = {name: rng.integers(0, count, options.pairs) for name, count in sizes.items()}
    pq.write_table(pa.table(seen), directory / "seen.parquet")


def _convert(directory: Path, *given: str) -> None:
    started = time.perf_counter()
    out = directory / "als_model.npz"
    command = [sys.executable, "-m", "service", "convert", str(directory / "model"), str(out), *given]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    # The greatest of all processes that have ended, so measure the smaller conversion first.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
    what = " ".join(word for word in given if word.startswith("--")) or "factors alone"
    print(f"{what}: {seconds:.1f} s, peak {peak:.0f} MB, {out.stat().st_size / 2**20:.0f} MB written")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in _SIZES.items():
        parser.add_argument("--" + name, type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        _write(directory, options)
        tables = {name: str(directory / f"{name}.parquet") for name in ("users", "items", "seen")}
        labels = ("--user-labels", tables["users"], "--item-labels", tables["items"])
        for given in ((), labels, (*labels, "--seen", tables["seen"])):
            _convert(directory, *given)


if __name__ == "__main__":
    main()
