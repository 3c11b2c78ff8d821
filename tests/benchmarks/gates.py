"""What gates add to a reload: seconds, processor seconds, and the event loop's longest gap meanwhile.

    python -m tests.benchmarks.gates [--users 1000000] [--items 200000] [--factors 64] [--times 5]

A new model, which differs a little from the served one, passes through all gates in this process, on the loop that is
measured: a timer that should fire every millisecond notes how late it was. The gap of the same loop with nothing to do,
for as long, shows what the machine's other work adds.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry

from service.app import gate_policy_of
from service.cli.models import imported
from service.live.admission import Admission
from service.live.reading import Reading
from service.model.storage import snapshot as snapshots
from service.model.storage.shelf import Shelf
from service.model.storage.verdicts import Verdicts
from service.observe.metrics import Metrics
from service.settings import Settings
from tests.benchmarks.loop_stall import Gaps
from tests.benchmarks.made import als_like


def _write(path: Path, options: argparse.Namespace, noise: float) -> None:
    users, items = als_like(options.users, options.items, options.factors, 0)
    rng = np.random.default_rng(1)
    users += noise * rng.standard_normal(users.shape, np.float32)
    ids = np.array([f"user-{number}" for number in range(options.users)])
    np.savez(path, user_factors=users, item_factors=items, user_ids=ids)


async def _measure(directory: Path, options: argparse.Namespace) -> None:
    paths = [directory / name for name in ("served.npz", "new.npz")]
    for path, noise in zip(paths, (0.0, 0.1), strict=True):
        await asyncio.to_thread(_write, path, options, noise)
    settings = Settings(state_dir=directory / "state")
    shelf, metrics = Shelf(directory / "state" / "snapshots", 3), Metrics(CollectorRegistry())
    admission = Admission(gate_policy_of(settings), Verdicts(directory), shelf, metrics)
    of_path = [Settings(model_path=path, state_dir=directory / "state") for path in paths]
    async with imported(of_path[0]) as served, imported(of_path[1]) as new:
        for snapshot in (served, new):
            snapshots.warm(snapshot)
        for _ in range(options.times):
            await _admit(admission, served, new)


async def _admit(admission: Admission, served: snapshots.Snapshot, new: snapshots.Snapshot) -> None:
    reading, before = Reading("new.npz"), time.process_time()
    gap = await _longest_gap(admission.admit(new, served, reading))
    took, seconds = time.process_time() - before, reading.seconds["gates"]
    idle = await _longest_gap(asyncio.sleep(seconds))
    found = ", ".join(f"{result.gate} {result.value:.3g} {result.result}" for result in reading.gates)
    print(
        f"{seconds:.2f} s, {took:.2f} s of processor time, longest gap {1000 * gap:.1f} ms, idle {1000 * idle:.1f} ms "
        f"({found})",
        flush=True,
    )


async def _longest_gap(work: Coroutine[None, None, None]) -> float:
    gaps = Gaps()
    measuring = asyncio.create_task(gaps.run())
    await asyncio.sleep(0.1)
    await work
    await asyncio.sleep(0.01)
    measuring.cancel()
    return gaps.longest


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("users", 1_000_000), ("items", 200_000), ("factors", 64), ("times", 5)):
        parser.add_argument("--" + name, type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(_measure(Path(directory), options))


if __name__ == "__main__":
    main()
