"""From a pointer in S3 to served, on two servers under open-loop load, publication after publication.

    python -m tests.benchmarks.s3_swaps [--publications 200] [--rate 50] [--poll 1]

A real object store and two real servers that follow it; every answer is checked against the factors of the version
it names. The seconds are from the pointer's acknowledgement to the swap, as the server's own log has it.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from service.s3.location import Location
from service.s3.pointer import Pointer
from service.s3.publishing import publish
from service.s3.uploading import Protection
from tests.support.load import open_loop
from tests.support.running import RunningServer, running_server
from tests.support.seaweed import Seaweed, running_seaweed
from tests.support.swapping import TOP, TwoModels

USERS, ITEMS, FACTORS = 2000, 5000, 32


def _path(number: int) -> str:
    return f"/v1/users/{number * 7919 % USERS}/recommendations?n={TOP}"


async def _publish(seaweed: Seaweed, prefix: Location, models: TwoModels, directory: Path, turn: int) -> str:
    version = list(models.contents)[turn % 2]
    path = directory / "new.npz"
    models.put(version, path)
    sha256 = models.sha256(version)
    described = Pointer(key="", sha256=sha256, size=path.stat().st_size, format="npz")
    async with seaweed.client() as client:
        await publish(client, prefix, path, described, Protection(), int)
    return version


def _swapped_at(server: RunningServer, count: int, version: str) -> datetime:
    """Return when a server swapped for the ``count``-th time, once it did."""
    server.wait_until(lambda: len(_swaps(server)) >= count)
    event = _swaps(server)[count - 1]
    assert event["model_version"] == version, "a publication was passed over or served twice"
    return datetime.fromisoformat(event["time"])


def _swaps(server: RunningServer) -> list[dict[str, str]]:
    return [event for event in list(server.events) if event["event"] == "swapped"]


async def _measure(options: argparse.Namespace, directory: Path) -> bool:
    models = TwoModels.make(USERS, ITEMS, FACTORS)
    with ExitStack() as stack:
        seaweed = stack.enter_context(running_seaweed(directory / "s3"))
        prefix = Location(await seaweed.make_bucket(versioned=True), "models/")
        await _publish(seaweed, prefix, models, directory, 0)
        servers = [
            stack.enter_context(
                running_server(
                    directory / name / "als_model.npz",
                    directory / name / "state",
                    seaweed.environment(),
                    s3_uri=prefix,
                    s3_poll_seconds=options.poll,
                )
            )
            for name in _made(directory, "one", "other")
        ]
        for server in servers:
            await asyncio.to_thread(server.wait_until_ready)
        stop = asyncio.Event()
        loads = [asyncio.create_task(open_loop(server.url, _path, options.rate, stop)) for server in servers]
        seconds: list[float] = []
        for turn in range(1, options.publications + 1):
            version = await _publish(seaweed, prefix, models, directory, turn)
            published = datetime.now(UTC)
            for server in servers:
                swapped = await asyncio.to_thread(_swapped_at, server, turn, version)
                seconds.append((swapped - published).total_seconds())
        stop.set()
        answers = [answer for load in loads for answer in await load]
        last = [server.get("/v1/model")[1]["model_version"] for server in servers]
    failed = sum(answer.status != 200 for answer in answers)
    mixed = sum(models.is_mixed(answer) for answer in answers if answer.status == 200)
    print(f"{options.publications} publications, {len(answers)} requests: {failed} failed, {mixed} mixed")
    print(f"served at the end: {' and '.join(last)}, published last: {version}")
    print(f"pointer to served: median {statistics.median(seconds):.2f} s, largest {max(seconds):.2f} s")
    return not failed and not mixed and last == [version, version]


def _made(directory: Path, *names: str) -> tuple[str, ...]:
    for name in names:
        (directory / name).mkdir()
    return names


def main() -> None:
    """Run the benchmark; exit 1 if a request failed or mixed two models, or a server missed the last one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--publications", type=int, default=200)
    parser.add_argument("--rate", type=float, default=50, help="requests a second to each server")
    parser.add_argument("--poll", type=float, default=1, help="seconds between polls")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        good = asyncio.run(_measure(options, Path(directory)))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
