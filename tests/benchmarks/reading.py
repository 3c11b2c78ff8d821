"""How fast training reads interactions from CSV, TSV and Parquet, by this tree, and by another one in turn.

    python -m tests.benchmarks.reading [--rows 10000000] [--rounds 5] [--against OTHER]

The rows are synthetic: half a million users with text ids, 200,000 items with popularity like 1 / rank, a rating and a
time. Each reading is a process of its own. With ``--against``, which names the directory of another working tree, each
round measures both, and which is first alternates; a ratio is of one round's figures, this tree's to the other's, and
its median is printed, with its quartiles in brackets. Seconds are of processor time; what is loaded before is left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from tests.benchmarks.throughput import SEED
from tests.support import ROOT

#: Quotes around text, as many programs write them; without any; and with tabs.
_TEXTS = {"CSV": (",", "none"), "CSV, quoted": (",", "all_valid"), "TSV": ("\t", "none")}

_PROGRAM = """
import json, resource, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import service
from service.training.interactions import read_interactions
assert Path(service.__file__).is_relative_to(sys.argv[1]), service.__file__
def worked():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
before, started = worked(), time.perf_counter()
rows = read_interactions([Path(sys.argv[2])]).rows
seconds, waited = worked() - before, time.perf_counter() - started
megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"rows": rows, "seconds": seconds, "waited": waited, "megabytes": megabytes}))
"""


@dataclass(frozen=True)
class Reading:
    """One reading of one file: its rows, its seconds of processor time and by the clock, and its largest size."""

    rows: int
    seconds: float
    waited: float
    megabytes: float

    @classmethod
    def of(cls, tree: Path, path: Path) -> Reading:
        """Have a tree read a file."""
        command: list[str | Path] = [sys.executable, "-I", "-c", _PROGRAM, tree, path]
        done = subprocess.run(command, capture_output=True, check=True, text=True, cwd=path.parent)
        return cls(**json.loads(done.stdout))


def table_of(rows: int) -> Any:
    """Make the synthetic rows, as a table of Arrow."""
    rng = np.random.default_rng(SEED)
    users = pa.array(np.char.mod("user-%07d", np.arange(500_000)))
    return pa.table(
        {
            "user_id": users.take(pa.array(rng.integers(0, 500_000, rows))),
            "item_id": rng.zipf(1.3, rows) % 200_000,
            "rating": rng.integers(1, 6, rows),
            "timestamp": rng.integers(1_500_000_000, 1_700_000_000, rows),
        }
    )


def write_files(directory: Path, rows: int) -> dict[str, Path]:
    """Write the rows in every form; return the files by the name of the form."""
    table = table_of(rows)
    files = {name: directory / name for name in (*_TEXTS, "Parquet")}
    for name, (delimiter, quoting) in _TEXTS.items():
        pa.csv.write_csv(table, files[name], pa.csv.WriteOptions(delimiter=delimiter, quoting_style=quoting))
    pa.parquet.write_table(table, files["Parquet"])
    return files


def show(name: str, path: Path, rounds: list[list[Reading]]) -> None:
    """Print the medians of each tree, and of the ratio of each pair."""
    print(f"{name}, {path.stat().st_size / 1e6:.0f} MB, {rounds[0][0].rows:,} rows")
    for label, readings in zip(("this", "the other"), zip(*rounds, strict=True), strict=False):
        seconds, waited = (statistics.median(getattr(one, name) for one in readings) for name in ("seconds", "waited"))
        size = max(one.megabytes for one in readings)
        print(f"  {label}: {readings[0].rows / waited:,.0f} rows/s, {seconds:.2f} s of a processor, {size:.0f} MB")
    if len(rounds[0]) > 1 < len(rounds):
        low, ratio, high = statistics.quantiles([this.seconds / other.seconds for this, other in rounds], n=4)
        print(f"  ratio of processor time: {ratio:.3f} ({low:.3f} to {high:.3f})")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", type=Path, help="the directory of the other working tree")
    options = parser.parse_args()
    trees = [ROOT, *([options.against.resolve()] if options.against else [])]
    with tempfile.TemporaryDirectory() as directory:
        files = write_files(Path(directory), options.rows)
        rounds: dict[str, list[list[Reading]]] = {name: [] for name in files}
        for number in range(options.rounds):
            for name, path in files.items():
                order = trees if number % 2 else trees[::-1]
                measured = {tree: Reading.of(tree, path) for tree in order}
                rounds[name].append([measured[tree] for tree in trees])
        for name, path in files.items():
            show(name, path, rounds[name])


if __name__ == "__main__":
    main()
