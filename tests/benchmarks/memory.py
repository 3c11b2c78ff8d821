"""Resident memory, file descriptors and threads of the real server across many swaps of a large model.

python -m tests.benchmarks.memory [--swaps 200] [--users 200000] [--items 50000] [--factors 64]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import psutil

from tests.support.running import RunningServer, running_server
from tests.support.swapping import TwoModels


def _report(swap: int, process: psutil.Process) -> None:
    memory = process.memory_full_info()
    print(
        f"{swap:>6} swaps: RSS {memory.rss / 2**20:7.1f} MB, of it its own {memory.uss / 2**20:6.1f} MB, "
        f"{process.num_fds()} descriptors, {process.num_threads()} threads, {len(process.memory_maps(False))} mappings"
    )


def _swap(server: RunningServer, models: TwoModels, path: Path, swaps: int) -> None:
    process = psutil.Process(server.process.pid)
    versions = list(models.contents)
    _report(0, process)
    for swap in range(1, swaps + 1):
        version = versions[swap % 2]
        models.put(version, path)
        server.wait_until_serving(version)
        if swap % max(1, swaps // 10) == 0:
            time.sleep(1)  # the old model is let go in the background
            _report(swap, process)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("swaps", 200), ("users", 200_000), ("items", 50_000), ("factors", 64)):
        parser.add_argument("--" + name, type=int, default=default)
    options = parser.parse_args()
    models = TwoModels.make(options.users, options.items, options.factors)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "als_model.npz"
        models.put(next(iter(models.contents)), path)
        with running_server(path, Path(directory) / "state") as server:
            server.wait_until_ready()
            _swap(server, models, path, options.swaps)


if __name__ == "__main__":
    main()
