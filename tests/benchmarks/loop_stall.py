"""The longest gap of the event loop while a large model is imported and swapped; and how soon a restart is ready.

    python -m tests.benchmarks.loop_stall [--users 1000000] [--items 200000] [--factors 64] [--swaps 4]

The reloader and the watcher run in this process, on the loop that is measured: a timer that should fire every
millisecond notes how late it was. Each swap imports a model that was never seen before.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry

from service.app import create_live
from service.live.watcher import Watcher
from service.observe.metrics import Metrics
from service.settings import Settings
from tests.benchmarks.made import als_like
from tests.support.running import running_server


class Gaps:
    """Notes how late a one-millisecond timer fires."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def run(self) -> None:
        """Measure until cancelled."""
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            self.longest, last = max(self.longest, now - last - 0.001), now


def write_new(path: Path, users: int, items: int, factors: int, seed: int) -> None:
    """Write a model that is made anew from a seed, with text ids for users, and put it at the path by a rename."""
    pair = als_like(users, items, factors, seed)
    beside = path.with_suffix(".new")
    with beside.open("wb") as file:
        np.savez(
            file, user_factors=pair[0], item_factors=pair[1], user_ids=np.array([f"user-{n}" for n in range(users)])
        )
    beside.replace(path)


async def _measure(path: Path, state: Path, options: argparse.Namespace) -> None:
    settings = Settings(model_path=path, state_dir=state, watch_seconds=0.2)
    metrics = Metrics(CollectorRegistry())
    live = create_live(settings, metrics)
    watcher, gaps = Watcher(path, live.reloader.request, settings.watch_seconds, metrics), Gaps()
    tasks = [asyncio.create_task(job) for job in (live.reloader.run(), watcher.run(), gaps.run())]
    for swap in range(options.swaps + 1):
        before = live.slot.current
        await asyncio.to_thread(_write_in_child, path, options, swap)
        gaps.longest = 0.0
        while live.slot.current is before:
            await asyncio.sleep(0.01)
        await asyncio.sleep(1)  # letting go of the old model counts, too
        assert live.slot.current
        seconds = ", ".join(f"{phase} {value:.2f}" for phase, value in live.slot.current.load_seconds.items())
        print(f"import and swap {swap}: longest gap {1000 * gaps.longest:.1f} ms ({seconds} s)", flush=True)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _write_in_child(path: Path, options: argparse.Namespace, seed: int) -> None:
    """Make a model outside this process: making one would hold its interpreter lock."""
    import multiprocessing  # only here: what is measured must not depend on it

    arguments = (path, options.users, options.items, options.factors, seed)
    child = multiprocessing.get_context("spawn").Process(target=write_new, args=arguments)
    child.start()
    child.join()


def _restart(path: Path, state: Path) -> None:
    for _ in range(3):
        started = time.perf_counter()
        with running_server(path, state) as server:
            server.wait_until_ready()
            print(f"restart with the snapshot on disk: ready {time.perf_counter() - started:.2f} s after exec")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("users", 1_000_000), ("items", 200_000), ("factors", 64), ("swaps", 4)):
        parser.add_argument("--" + name, type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path, state = Path(directory) / "als_model.npz", Path(directory) / "state"
        asyncio.run(_measure(path, state, options))
        _restart(path, state)


if __name__ == "__main__":
    main()
