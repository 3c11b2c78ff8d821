"""A large model comes from S3: resident memory and latency of the server meanwhile, and the seconds it takes.

    python -m tests.benchmarks.s3_download [--megabytes 1024] [--rate 100]

A real object store; the large object has the length and sha256 in its pointer but is not a model, so only the download
is measured. p99 during the download stands next to p99 of the same load before it.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from service.s3.location import Location
from service.s3.pointer import Pointer
from service.s3.publishing import publish
from service.s3.uploading import Protection
from tests.support.load import Answer, open_loop, percentile
from tests.support.running import RunningServer, running_server
from tests.support.seaweed import Seaweed, running_seaweed
from tests.support.swapping import TOP, TwoModels

USERS, ITEMS, FACTORS = 2000, 5000, 32


def _path(number: int) -> str:
    return f"/v1/users/{number * 7919 % USERS}/recommendations?n={TOP}"


def _write_noise(path: Path, megabytes: int) -> None:
    piece = secrets.token_bytes(2**20)
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(piece)


def _described(path: Path) -> Pointer:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Pointer(key="", sha256=sha256, size=path.stat().st_size, format="npz")


async def _publish(seaweed: Seaweed, prefix: Location, path: Path) -> None:
    described = _described(path)
    async with seaweed.client() as client:
        await publish(client, prefix, path, described, Protection(), int)


@contextmanager
def _watched(process: psutil.Process) -> Iterator[list[int]]:
    """Take the resident size (bytes) every 20 ms for the length of a block."""
    sizes: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            sizes.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield sizes
    finally:
        over.set()
        watcher.join()


async def _under_load(server: RunningServer, rate: float, until: str | None) -> list[Answer]:
    """Load the server until an event is logged, or for ten seconds."""
    stop = asyncio.Event()
    load = asyncio.create_task(open_loop(server.url, _path, rate, stop))
    await (asyncio.to_thread(server.wait_for, until, 600) if until else asyncio.sleep(10))
    stop.set()
    return await load


async def _measure(megabytes: int, rate: float, directory: Path) -> None:
    models = TwoModels.make(USERS, ITEMS, FACTORS)
    path = directory / "als_model.npz"
    models.put(next(iter(models.contents)), path)
    with running_seaweed(directory / "s3") as seaweed:
        prefix = Location(await seaweed.make_bucket(versioned=True), "models/")
        settings: dict[str, Any] = {"s3_uri": prefix, "s3_poll_seconds": 1}
        with running_server(path, directory / "state", seaweed.environment(), **settings) as server:
            await asyncio.to_thread(server.wait_until_ready)
            before = await _under_load(server, rate, None)
            noise = directory / "noise"
            _write_noise(noise, megabytes)
            await _publish(seaweed, prefix, noise)
            await asyncio.to_thread(server.wait_for, "s3_downloading")
            with _watched(psutil.Process(server.process.pid)) as sizes:
                started = time.perf_counter()
                during = await _under_load(server, rate, "s3_downloaded")
                seconds = time.perf_counter() - started
    print(f"{megabytes} MB in {seconds:.1f} s, RSS {sizes[0] / 2**20:.1f} to at most {max(sizes) / 2**20:.1f} MB")
    for name, answers in (("before", before), ("during", during)):
        latencies = [answer.latency for answer in answers]
        figures = ", ".join(f"p{percent:g} {percentile(latencies, percent):.1f}" for percent in (50, 90, 99, 100))
        failed = sum(answer.status != 200 for answer in answers)
        print(f"{name}: {len(answers)} requests, {failed} failed, {figures} ms")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--rate", type=float, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(_measure(options.megabytes, options.rate, Path(directory)))


if __name__ == "__main__":
    main()
