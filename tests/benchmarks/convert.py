"""Seconds, processor time and peak memory of the conversion of a model like Spark's, by the process that reads it.

python -m tests.benchmarks.convert [--users 195311] [--items 48980] [--factors 64] [--pairs 5000000] [--parts 10]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
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
    out, started = directory / "als_model.npz", time.perf_counter()
    command = [sys.executable, "-m", "service", "convert", str(directory / "model"), str(out), *given]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    seconds, processor = time.perf_counter() - started, usage.ru_utime + usage.ru_stime
    peak, size = usage.ru_maxrss / 2**10, out.stat().st_size / 2**20
    what = " ".join(word for word in given if word.startswith("--")) or "factors alone"
    print(f"{what}: {seconds:.1f} s, {processor:.1f} s of processor time, peak {peak:.0f} MB, {size:.0f} MB written")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in _SIZES.items():
        parser.add_argument("--" + name, type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        # In a process of its own: the peak of a process counts for those that it starts, too.
        writer = multiprocessing.get_context("spawn").Process(target=_write, args=(directory, options))
        writer.start()
        writer.join()
        assert writer.exitcode == 0
        tables = {name: str(directory / f"{name}.parquet") for name in ("users", "items", "seen")}
        labels = ("--user-labels", tables["users"], "--item-labels", tables["items"])
        for given in ((), labels, (*labels, "--seen", tables["seen"])):
            _convert(directory, *given)


if __name__ == "__main__":
    main()
