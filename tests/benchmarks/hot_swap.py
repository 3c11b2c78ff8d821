"""Hot swaps under open-loop load: what fails, what mixes two models, and what the swaps cost.

    python -m tests.benchmarks.hot_swap [--swaps 200] [--rate 200]

The real server, two models in turn; every answer is checked against the factors of the version it names.
p99 during the swaps stands next to p99 of the same load without any.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.support.load import Answer, open_loop, percentile
from tests.support.running import RunningServer, running_server
from tests.support.swapping import TOP, TwoModels, replace_repeatedly

USERS, ITEMS, FACTORS = 2000, 5000, 32


def _path(number: int) -> str:
    return f"/v1/users/{number * 7919 % USERS}/recommendations?n={TOP}"


async def _under_load(server: RunningServer, rate: float, models: TwoModels, path: Path, swaps: int) -> list[Answer]:
    """Load the server while the file is replaced ``swaps`` times, or for as long without."""
    stop = asyncio.Event()
    load = asyncio.create_task(open_loop(server.url, _path, rate, stop))
    if swaps:
        await replace_repeatedly(models, path, swaps, seconds=0.3)
    else:
        await asyncio.sleep(20)
    stop.set()
    return await load


async def _measure(swaps: int, rate: float, directory: Path) -> bool:
    models = TwoModels.make(USERS, ITEMS, FACTORS)
    path = directory / "als_model.npz"
    models.put(next(iter(models.contents)), path)
    with running_server(path, directory / "state") as server:
        await asyncio.to_thread(server.wait_until_ready)
        without = await _under_load(server, rate, models, path, 0)
        during = await _under_load(server, rate, models, path, swaps)
        swapped = sum(event["event"] == "swapped" for event in server.events)
    failed = sum(answer.status != 200 for answer in during)
    mixed = sum(models.is_mixed(answer) for answer in during if answer.status == 200)
    print(
        f"{len(during)} requests at {rate:g}/s, {swaps} replacements, {swapped} swaps: {failed} failed, {mixed} mixed"
    )
    for name, answers in (("without swaps", without), ("during swaps", during)):
        latencies = [answer.latency for answer in answers]
        figures = ", ".join(f"p{percent:g} {percentile(latencies, percent):.1f}" for percent in (50, 90, 99, 99.9, 100))
        print(f"{name:>14}: {figures} ms")
    return not failed and not mixed


def main() -> None:
    """Run the benchmark; exit 1 if a request failed or mixed two models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=200)
    parser.add_argument("--rate", type=float, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        good = asyncio.run(_measure(options.swaps, options.rate, Path(directory)))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
