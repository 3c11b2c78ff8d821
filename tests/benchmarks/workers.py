"""What workers cost and withstand: memory, processor time a request, and kills and swaps under load.

    python -m tests.benchmarks.workers memory [--users 1000000] [--items 100000] [--factors 64] [--workers 4]
    python -m tests.benchmarks.workers cost [--rounds 24] [--seconds 1] [--workers 4]
    python -m tests.benchmarks.workers withstand [--kills 20] [--swaps 50] [--workers 4] [--rate 100]

``memory`` adds up the proportional set size (PSS) of all processes, which counts what they share once.

``cost`` measures workers and processes that answer by themselves in turn, on the model and the load of ``throughput``;
a ratio is of one round's figures. With one connection, one process answers. With more, workers are compared to as many
processes with a port each: processes that work at once slow one another down where they share a core or its caches. It
needs wrk.

``withstand`` replaces the model and kills workers while requests leave on a fixed schedule, and counts what failed,
what connections saw and what the metrics lost. Some connections ask for nothing but the model: the skew of a swap is
the time from the first of them that sees it to the last.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import aiohttp
import numpy as np

from tests.benchmarks.made import als_like
from tests.benchmarks.processor_time import show
from tests.benchmarks.throughput import USERS, write_model, wrk, wrk_script
from tests.support.load import open_loop
from tests.support.running import RunningServer, running_server
from tests.support.swapping import TOP, TwoModels, replace_repeatedly
from tests.support.workers import lasting, processes_of, samples, workers_of

_COUNTED = (
    "als_http_requests_total[('arm', 'served'), ('method', 'GET'), ('route', '/v1/users/{user}/recommendations'), "
    "('status', '200')]"
)


def memory(directory: Path, options: argparse.Namespace) -> None:
    """Print the memory of one process and of several."""
    model = directory / "als_model.npz"
    user_factors, item_factors = als_like(options.users, options.items, options.factors, 1)
    np.savez(model, user_factors=user_factors, item_factors=item_factors)
    del user_factors, item_factors
    for workers in (1, options.workers):
        with running_server(model, directory / "state", workers=workers) as server:
            ready(server, workers)
            for number in range(200 * workers):
                server.get(f"/v1/users/{number * 7919 % options.users}/recommendations")
            used = [process.memory_full_info().pss / 2**20 for process in processes_of(server)]
            told = ", ".join(f"{each:.0f}" for each in used)
            print(
                f"{workers} to answer: {sum(used):.0f} MiB ({told}); the model has {model.stat().st_size / 2**20:.0f}"
            )


def cost(directory: Path, options: argparse.Namespace) -> None:
    """Print the processor time of a request: of workers, of one process, and of as many processes by themselves."""
    model, script = directory / "als_model.npz", directory / "users.lua"
    write_model(model)
    script.write_text(wrk_script(USERS))
    with ExitStack() as stack:
        alone = [
            stack.enter_context(running_server(model, directory / str(n), cache_mb=0)) for n in range(options.workers)
        ]
        group = stack.enter_context(running_server(model, directory / "group", workers=options.workers, cache_mb=0))
        for server in alone:
            ready(server, 1)
        ready(group, options.workers)
        load = partial(one_round, script, options.seconds)
        compare("1 connection", partial(load, [group], 1, 1), partial(load, alone[:1], 1, 1), options.rounds)
        together = partial(load, [group], options.workers, 4), partial(load, alone, 1, 4)
        compare(f"{4 * options.workers} connections, as many processes each", *together, options.rounds)


Round = Callable[[], tuple[float, float]]


def compare(name: str, group: Round, alone: Round, rounds: int) -> None:
    """Print the figures of workers next to those of processes that answer by themselves, measured in turn."""
    figures = []
    for number in range(rounds):
        measured = {each: each() for each in ((group, alone) if number % 2 else (alone, group))}
        figures.append((measured[group], measured[alone]))
    for place, unit in enumerate(("requests/s", "microseconds of a processor for each")):
        show(f"{name}: {unit}", ("workers", "alone"), [(many[place], one[place]) for many, one in figures])


def one_round(
    script: Path, seconds: int, servers: Sequence[RunningServer], clients: int, connections: int
) -> tuple[float, float]:
    """Return the requests a second, and the microseconds that all processes worked for each.

    Each server has so many clients, and each client so many connections.
    """
    urls = [server.url for server in servers for _ in range(clients)]
    before = sum(map(worked, servers))
    with ThreadPoolExecutor(len(urls)) as threads:
        rate = sum(threads.map(lambda url: wrk(url, script, seconds, connections), urls))
    return rate, 1e6 * (sum(map(worked, servers)) - before) / (rate * seconds)


def worked(server: RunningServer) -> float:
    """Return the seconds that all processes of a server have worked."""
    times = [process.cpu_times() for process in processes_of(server)]
    return sum(each.user + each.system for each in times)


def ready(server: RunningServer, workers: int) -> None:
    """Return once a server answers with all its workers."""
    server.wait_until_ready()
    server.wait_until(lambda: samples(server.url)["als_workers"] == (workers if workers > 1 else 0))


async def withstand(directory: Path, options: argparse.Namespace) -> None:
    """Print what failed, and what was seen, while models were replaced and workers killed."""
    models, path = TwoModels.make(users=500, items=3000, factors=16), directory / "als_model.npz"
    first = next(iter(models.contents))
    models.put(first, path)
    with running_server(path, directory / "state", workers=options.workers, management_port=0) as server:
        await asyncio.to_thread(ready, server, options.workers)
        stop = asyncio.Event()
        load = asyncio.create_task(open_loop(server.url, recommendations, options.rate, stop))
        watching = [asyncio.create_task(watch(server.url, stop)) for _ in range(4 * options.workers)]
        falls = asyncio.create_task(count_falls(f"http://127.0.0.1:{server.wait_for('managing')['port']}", stop))
        swapping = asyncio.create_task(
            replace_repeatedly(models, path, options.swaps, 1.3 * options.kills / options.swaps)
        )
        replaced = [await asyncio.to_thread(kill_one, server, options.workers) for _ in range(options.kills)]
        await swapping
        stop.set()
        answers, seen = await load, await asyncio.gather(*watching)
        counted = samples(server.url)[_COUNTED]
    outcomes = Counter(answer.status for answer in answers)
    print(f"{options.kills} kills, {options.swaps} swaps, {len(answers)} requests: {dict(outcomes)}")
    print(f"mixed answers: {sum(models.is_mixed(answer) for answer in answers if answer.status == 200)}")
    print(f"counted as answered: {counted:.0f}; series that fell: {await falls}")
    if replaced:
        print(f"seconds until replaced: median {statistics.median(replaced):.2f}, longest {max(replaced):.2f}")
    skews = skews_of([sightings for connections in seen for sightings in connections])
    print(f"{len(skews)} swaps seen, skew: median {statistics.median(skews):.3f} s, longest {max(skews):.3f} s")
    print(f"connections that went back: {sum(went_back(each) for connections in seen for each in connections)}")


def recommendations(number: int) -> str:
    """Return the path of a request."""
    return f"/v1/users/{number * 7919 % 500}/recommendations?n={TOP}"


def kill_one(server: RunningServer, workers: int) -> float:
    """Kill a worker; return the seconds until there are as many again that answer."""
    ended = samples(server.url)["als_worker_ends_total"]
    os.kill(random.choice(workers_of(server.process.pid)).pid, signal.SIGKILL)
    started = time.monotonic()

    def is_replaced() -> bool:
        with suppress(OSError):
            now = samples(server.url)
            return now["als_worker_ends_total"] > ended and now["als_workers"] == workers
        return False

    server.wait_until(is_replaced)
    return time.monotonic() - started


#: When a connection saw a model, and since when that is served.
Sightings = list[tuple[float, str]]


async def watch(url: str, stop: asyncio.Event) -> list[Sightings]:
    """Ask for the model again and again; return what each connection saw: a new one where the last has ended."""
    seen: list[Sightings] = []
    while not stop.is_set():
        sightings: Sightings = []
        seen.append(sightings)
        with suppress(aiohttp.ClientError):
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
                while not stop.is_set():
                    async with session.get(url + "/v1/model") as answer:
                        model = await answer.json()
                    sightings.append((time.monotonic(), model["loaded_at"]))
                    await asyncio.sleep(0.02)
    return seen


async def count_falls(url: str, stop: asyncio.Event) -> int:
    """Scrape again and again; return how often a counter or a histogram fell."""
    before: dict[str, float] = {}
    falls = 0
    while not stop.is_set():
        now = await asyncio.to_thread(lasting, url)
        falls += sum(now.get(name, -1.0) < value for name, value in before.items())
        before = now
        await asyncio.sleep(0.2)
    return falls


def skews_of(seen: list[Sightings]) -> list[float]:
    """Return, for each model, the seconds from the first connection that saw it to the last, of those there before."""
    skews = []
    for model in sorted({model for sightings in seen for _, model in sightings})[1:]:
        firsts = [
            next(moment for moment, other in sightings if other >= model)
            for sightings in seen
            if sightings and sightings[0][1] < model <= sightings[-1][1]
        ]
        if firsts:
            skews.append(max(firsts) - min(firsts))
    return skews


def went_back(sightings: Sightings) -> bool:
    """Say whether a connection saw an earlier model after a later one."""
    models = [model for _, model in sightings]
    return models != sorted(models)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("memory", "cost", "withstand"))
    for name, default in {
        "workers": 4,
        "users": 1_000_000,
        "items": 100_000,
        "factors": 64,
        "rounds": 24,
        "seconds": 1,
        "kills": 20,
        "swaps": 50,
        "rate": 100,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        if options.what == "withstand":
            asyncio.run(withstand(Path(directory), options))
        else:
            {"memory": memory, "cost": cost}[options.what](Path(directory), options)


if __name__ == "__main__":
    main()
