"""A model of a given size on the real server: its import, a restart, its memory, and the time of a request.

    python -m tests.benchmarks.scale [--users 5000000] [--items 500000] [--factors 64] [--directory /dev/shm]

The items' norms fall off as in a model of check-ins. In /dev/shm, no disk is measured. The file and its snapshot are
then in memory, and the import needs as much again.
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import psutil

from tests.benchmarks.made import als_like
from tests.support.load import percentile
from tests.support.running import RunningServer, running_server


def _write(path: Path, users: int, items: int, factors: int) -> None:
    """Write a model file of so many bytes of factors."""
    made = als_like(users, items, factors, seed=0)
    np.savez(path, user_factors=made[0], item_factors=made[1])


def _started(server: RunningServer) -> float:
    """Return the seconds that a server took from its start until it was ready."""
    server.wait_until_ready(600)
    return time.time() - psutil.Process(server.process.pid).create_time()


def _ask(server: RunningServer, users: int, requests: int) -> str:
    """Return what requests for random users cost, one after the other."""
    process, draw = psutil.Process(server.process.pid), random.Random(0)
    connection = HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    latencies = []
    before = process.cpu_times()
    for _ in range(requests):
        started = time.perf_counter()
        connection.request("GET", f"/v1/users/{draw.randrange(users)}/recommendations?n=10")
        assert connection.getresponse().read()
        latencies.append(time.perf_counter() - started)
    after = process.cpu_times()
    connection.close()
    spent = (after.user + after.system - before.user - before.system) / requests
    figures = ", ".join(f"p{share:g} {percentile(latencies, share):.2f}" for share in (50, 99))
    return f"{1e6 * spent:.0f} µs of processor time a request, {figures} ms"


def _memory(server: RunningServer) -> str:
    memory = psutil.Process(server.process.pid).memory_full_info()
    return f"resident {memory.rss / 2**20:.0f} MB, of it its own {memory.uss / 2**20:.0f} MB"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("users", 5_000_000), ("items", 500_000), ("factors", 64), ("requests", 5000)):
        parser.add_argument("--" + name, type=int, default=default)
    parser.add_argument("--directory", type=Path, default=Path("/dev/shm"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as scratch:
        model, state = Path(scratch) / "als_model.npz", Path(scratch) / "state"
        _write(model, options.users, options.items, options.factors)
        print(f"model file: {model.stat().st_size / 1e6:.0f} MB")
        with running_server(model, state) as server:
            print(f"ready {_started(server):.1f} s after the start, import included")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        snapshot = sum(path.stat().st_size for path in state.rglob("*.npy"))
        print(f"peak of the largest process: {peak / 2**10:.0f} MB; snapshot: {snapshot / 1e6:.0f} MB")
        with running_server(model, state, cache_mb=0) as server:
            print(f"ready {_started(server):.1f} s after a restart")
            print(_ask(server, options.users, options.requests))
            print(_memory(server))


if __name__ == "__main__":
    main()
