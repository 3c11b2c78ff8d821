"""A rolling restart of three servers, and a new model for all, behind HAProxy: what fails, with and without draining.

    python -m tests.benchmarks.rolling_restart [--rate 100] [--late 2] [--drain 8]

The proxy checks nothing, tries nothing again, and forgets each server so many seconds after its SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.support.haproxy import HAProxy
from tests.support.load import open_loop, percentile
from tests.support.proxied import ProxiedFleet, running_fleet
from tests.support.swapping import TOP, TwoModels

USERS, ITEMS, FACTORS, SERVERS = 2000, 5000, 32, 3
MODELS = TwoModels.make(USERS, ITEMS, FACTORS)


def _path(number: int) -> str:
    return f"/v1/users/{number * 7919 % USERS}/recommendations?n={TOP}"


async def _under_load(name: str, proxy: HAProxy, rate: float, happens: Callable[[], Awaitable[None]]) -> int:
    """Print a row of the table about what happens under load; return how many requests failed."""
    stop = asyncio.Event()
    load = asyncio.create_task(open_loop(proxy.url, _path, rate, stop))
    await happens()
    stop.set()
    answers = await load
    good = [answer for answer in answers if answer.status == 200]
    mixed = sum(map(MODELS.is_mixed, good))
    figures = " | ".join(f"{percentile([answer.latency for answer in good], share):.1f}" for share in (50, 99, 100))
    print(f"| {name} | {len(answers)} | {len(answers) - len(good)} | {mixed} | {figures} |", flush=True)
    return len(answers) - len(good) + mixed


async def _measure(drain: float, late: float, rate: float, directory: Path) -> int:
    first, second = MODELS.contents
    model = directory / "als_model.npz"
    MODELS.put(first, model)

    async def restart(fleet: ProxiedFleet) -> None:
        await asyncio.to_thread(fleet.restart, late)

    async def swap(fleet: ProxiedFleet) -> None:
        MODELS.put(second, model)
        await asyncio.to_thread(fleet.wait_until_serving, second)
        await asyncio.sleep(2)

    with running_fleet(model, directory, SERVERS, drain) as (fleet, proxy):
        failed = await _under_load(f"restart of all, drain {drain:g} s", proxy, rate, lambda: restart(fleet))
        if drain:
            failed += await _under_load("a new model for all", proxy, rate, lambda: swap(fleet))
    return failed


def main() -> None:
    """Run the benchmark; exit 1 if a request failed, or mixed two models, although the servers drain."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--late", type=float, default=2)
    parser.add_argument("--drain", type=float, default=8)
    options = parser.parse_args()
    print("| what | requests | failed | mixed | p50, ms | p99 | worst |\n|---|---|---|---|---|---|---|")
    failed = {}
    for drain in (options.drain, 0):
        with tempfile.TemporaryDirectory() as directory:
            failed[drain] = asyncio.run(_measure(drain, options.late, options.rate, Path(directory)))
    sys.exit(1 if failed[options.drain] else 0)


if __name__ == "__main__":
    main()
