"""The slowest answers while a large model is imported and swapped, next to the same load without.

    python -m tests.benchmarks.swap_tail [--python OTHER/.venv/bin/python] [--users 1000000] [--items 200000]

The real server answers 200 requests a second for random users, in an open loop; the response cache is off. Each swap
imports a model that was never seen before.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.loop_stall import write_new
from tests.support.load import Answer, open_loop, percentile
from tests.support.running import RunningServer, running_server

RATE, FACTORS = 200.0, 64
_SECONDS_WITHOUT = 15.0


def _swaps_in(server: RunningServer) -> int:
    return sum(event["event"] == "swapped" for event in server.events)


async def _loaded(server: RunningServer, users: int, work: asyncio.Task[None]) -> list[Answer]:
    """Load the server for as long as something else takes."""
    stop = asyncio.Event()
    paths = "/v1/users/user-{}/recommendations"
    load = asyncio.create_task(open_loop(server.url, lambda n: paths.format(n * 7919 % users), RATE, stop))
    await work
    stop.set()
    return await load


async def _swap(server: RunningServer, path: Path, new: Path) -> None:
    before = _swaps_in(server)
    await asyncio.to_thread(new.replace, path)
    while _swaps_in(server) == before:
        await asyncio.sleep(0.1)
    await asyncio.sleep(1)  # the model before is let go of


def _show(name: str, answers: list[Answer]) -> None:
    latencies = [answer.latency for answer in answers]
    figures = ", ".join(f"p{percent:g} {percentile(latencies, percent):.1f}" for percent in (50, 99, 99.9, 100))
    failed = sum(answer.status != 200 for answer in answers)
    print(f"{name}: {len(answers)} requests, {failed} failed, {figures} ms")


async def _measure(directory: Path, options: argparse.Namespace) -> None:
    path, new = directory / "als_model.npz", directory / "new"
    write_new(path, options.users, options.items, FACTORS, 0)
    command = [options.python, "-m", "service", "serve"]
    off = {"ALS_CACHE_MB": "0"} if options.python == sys.executable else None  # which another may not know
    with running_server(path, directory / "state", off, command=command, cwd=directory) as server:
        await asyncio.to_thread(server.wait_until_ready, 300)
        _show("without", await _loaded(server, options.users, asyncio.create_task(asyncio.sleep(_SECONDS_WITHOUT))))
        for number in range(options.swaps):
            write_new(new, options.users, options.items, FACTORS, number + 1)
            swap = asyncio.create_task(_swap(server, path, new))
            _show(f"swap {number + 1}", await _loaded(server, options.users, swap))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--swaps", type=int, default=3)
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(_measure(Path(directory), parser.parse_args()))


if __name__ == "__main__":
    main()
