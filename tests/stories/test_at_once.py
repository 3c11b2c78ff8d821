"""Models that arrive from all sides: files, S3 and an administrator."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.stories.test_administration import Administered, administrators
from tests.support.fleets import Fleet
from tests.support.helpers import model_bytes, put, version
from tests.support.load import open_loop
from tests.support.running import RunningServer
from tests.support.seaweed import Seaweed

OLD, NEW = model_bytes(1), model_bytes(2)


@pytest.fixture
def fleet(seaweed: Seaweed, versioned_bucket: str, tmp_path: Path) -> Fleet:
    """Return a prefix of its own, with versions."""
    return Fleet(seaweed, versioned_bucket, tmp_path)


async def test_files_s3_and_reloads_at_once(fleet: Fleet) -> None:
    """Faults 53 and 54: whatever arrives from all sides, one import runs at a time, and the last model wins."""
    contents = [model_bytes(seed) for seed in range(3, 11)]
    put(fleet.path, OLD)
    with fleet.server(tokens_file=administrators(fleet.directory)) as server:
        await asyncio.to_thread(server.wait_until_ready)
        site = Administered(fleet.path, server, server.url)
        stop = asyncio.Event()
        watching = asyncio.create_task(_most_imports(server.process.pid, stop))
        load = asyncio.create_task(open_loop(server.url, lambda _: "/v1/items/popular", 50, stop))
        for by_hand, from_s3 in zip(contents[::2], contents[1::2], strict=True):
            put(fleet.path, by_hand)
            asked = asyncio.create_task(asyncio.to_thread(site.ask, "POST", "reload"))
            await fleet.put(from_s3)
            put(fleet.path, by_hand)
            assert (await asked)[0] == 200
        await fleet.put(NEW)
        await asyncio.to_thread(server.wait_until_serving, version(NEW))
        await asyncio.to_thread(_wait_for_another_poll, server)
        stop.set()
        answers, most = await load, await watching
        assert server.get("/v1/model")[1]["model_version"] == version(NEW)
    assert [answer for answer in answers if answer.status != 200] == []
    assert most == 1


def test_a_pin_holds(fleet: Fleet) -> None:
    """Fault 56: after a return to an earlier version, what S3 publishes and the next polls do not replace it."""
    fleet.publish(OLD)
    with fleet.server(tokens_file=administrators(fleet.directory)) as server:
        server.wait_until_serving(version(OLD))
        fleet.publish(NEW)
        server.wait_until_serving(version(NEW))
        site = Administered(fleet.path, server, server.url)
        assert site.ask("PUT", "pin", {"model_version": version(OLD)})[0] == 200
        server.wait_until_serving(version(OLD))
        fleet.publish(model_bytes(3))
        site.wait_for_reload("rejected", "pinned")
        _wait_for_another_poll(server)
        assert server.get("/v1/model")[1]["model_version"] == version(OLD)
        assert site.ask("DELETE", "pin")[0] == 200
        server.wait_until_serving(version(model_bytes(3)))


async def _most_imports(pid: int, stop: asyncio.Event) -> int:
    """Return how many imports a process had at the same time, at most, until a block ends."""
    most = 0
    while not stop.is_set():
        most = max(most, _imports(pid))
        await asyncio.sleep(0.005)
    return most


def _imports(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return len([child for child in children if _is_import(child)])


def _is_import(child: str) -> bool:
    try:
        return b"service.children.importing" in Path(f"/proc/{child}/cmdline").read_bytes()
    except OSError:  # it has ended
        return False


def _wait_for_another_poll(server: RunningServer) -> None:
    polled = server.get("/v1/model")[1]["s3"]["last_success_at"]
    server.wait_until(lambda: server.get("/v1/model")[1]["s3"]["last_success_at"] > polled)
