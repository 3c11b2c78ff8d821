"""The keeper in this process, with real workers: it replaces those that end, and those that hang."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from service import server
from service.api.context import Context
from service.live.commands import Pin
from service.settings import Settings
from service.tokens import digest_of
from service.workers import keeper
from tests.support.helpers import eventually, model_bytes, put, stand_in
from tests.support.workers import workers_of


@dataclass
class Started:
    """A service that runs in this process, but for its workers."""

    context: Context
    url: str

    def sample(self, name: str) -> float | None:
        """Return one sample as a scrape would."""
        return self.context.metrics.registry.get_sample_value(name)

    async def get(self, path: str) -> int:
        """Return the status of an answer."""
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as answer:
            return answer.status

    async def administer(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Send a command to a worker with the token "secret"; return the status and the answer."""
        headers = {"Authorization": "Bearer secret"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, f"{self.url}/v1/admin/{path}", json=body) as answer,
        ):
            return answer.status, await answer.json(content_type=None)


@asynccontextmanager
async def started(directory: Path, **changes: Any) -> AsyncIterator[Started]:
    """Run a service of two workers for the length of a block."""
    put(directory / "m.npz", model_bytes())
    fixed: dict[str, Any] = {"port": 0, "drain_seconds": 0, "workers": 2, "log_level": "error"}
    settings = Settings(model_path=directory / "m.npz", state_dir=directory / "s", **fixed, **changes)
    listening: asyncio.Future[Started] = asyncio.get_running_loop().create_future()

    def on_start(context: Context, port: int) -> None:
        listening.set_result(Started(context, f"http://127.0.0.1:{port}"))

    running = asyncio.create_task(server.serve(settings, on_start))
    try:
        yield await listening
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        await running


def pauses(caplog: pytest.LogCaptureFixture) -> list[float]:
    """Return how long the keeper waited after each end of a worker."""
    return [
        vars(record)["facts"]["seconds"] for record in caplog.records if vars(record).get("event") == "worker_ended"
    ]


async def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    """The service is ready as soon as one of them answers from a model, and goes on with as many as before."""
    async with started(tmp_path) as service:
        await eventually(lambda: service.context.lifecycle.answering, 60)
        assert await service.get("/v1/items/popular") == 200
        await eventually(lambda: service.sample("als_workers") == 2, 60)
        workers = [worker.pid for worker in workers_of(os.getpid())]
        assert {os.getpriority(os.PRIO_PROCESS, pid) for pid in workers} == {os.getpriority(os.PRIO_PROCESS, 0)}
        os.kill(workers[0], signal.SIGKILL)
        await eventually(lambda: service.sample("als_worker_ends_total") == 1, 60)
        await eventually(lambda: service.sample("als_workers") == 2, 60)
        assert await service.get("/metrics") == 200
    assert workers_of(os.getpid()) == []


async def test_workers_do_without_a_pinned_model_that_is_lost(tmp_path: Path) -> None:
    """Where all of them end, new ones answer from the model at the path."""
    async with started(tmp_path) as service:
        slot, administer = service.context.status.slot, service.context.administer
        await eventually(lambda: slot.loaded and service.sample("als_workers") == 2, seconds=60)
        assert slot.loaded
        assert administer
        pinned, path = slot.loaded.version, slot.loaded.snapshot.directory
        await administer(Pin(pinned))
        newer = put(tmp_path / "m.npz", model_bytes(1))
        await eventually(lambda: slot.loaded and slot.loaded.stale, seconds=60)
        path.rename(tmp_path / "lost")
        for worker in workers_of(os.getpid()):
            worker.kill()
        await eventually(lambda: service.sample("als_workers") == 0)
        await eventually(lambda: service.sample("als_workers") == 2, seconds=60)
        assert slot.version == newer
        assert await service.get("/readyz") == 200


async def test_a_command_to_a_worker_is_carried_out_by_the_keeper(tmp_path: Path) -> None:
    """And what the keeper refuses, the worker refuses."""
    tokens = tmp_path / "tokens"
    tokens.write_text(f"ops admin {digest_of('secret')}\n")
    async with started(tmp_path, tokens_file=tokens) as service:
        slot = service.context.status.slot
        await eventually(lambda: slot.loaded and service.sample("als_workers") == 2, seconds=60)
        status, found = await service.administer("PUT", "pin", {"model_version": slot.version})
        assert (status, found["pinned"]) == (200, slot.version)
        assert service.sample("als_model_pinned") == 1
        status, found = await service.administer("PUT", "pin", {"model_version": "0" * 16})
        assert (status, found["code"]) == (404, "unknown_version")


async def test_a_worker_that_hangs_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes no news for long is killed, whatever it waits for."""
    monkeypatch.setattr(keeper, "_REPEAT_SECONDS", 0.05)
    async with started(tmp_path) as service:
        await eventually(lambda: service.sample("als_workers") == 2, 60)
        monkeypatch.setattr(keeper, "_HUNG_SECONDS", 0.5)
        os.kill(workers_of(os.getpid())[0].pid, signal.SIGSTOP)
        await eventually(lambda: bool(service.sample("als_worker_ends_total")), 60)


@pytest.mark.parametrize(
    ("body", "how"),
    [("sys.exit(3)", "failed with exit code 3"), ("print('nonsense', flush=True)", "said what is not a message")],
)
async def test_workers_that_keep_ending_are_started_ever_more_rarely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, body: str, how: str
) -> None:
    """The service is not ready, says why, and leaves the machine in peace; it can be stopped at any time."""
    monkeypatch.setattr(keeper, "_SOON_SECONDS", 3600.0)
    stand_in(tmp_path, monkeypatch, body)
    async with started(tmp_path) as service:
        await eventually(lambda: pauses(caplog).count(0.4) == 2, 60)
        assert not service.context.lifecycle.answering
    assert sorted(pauses(caplog))[:6] == [0.1, 0.1, 0.2, 0.2, 0.4, 0.4]
    assert how in caplog.text


async def test_a_worker_that_answered_is_replaced_soon_however_often_it_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its clients wait, and starting it is not what fails, so the pause is never long."""
    monkeypatch.setattr(keeper, "_SOON_SECONDS", 3600.0)
    monkeypatch.setattr(keeper, "_LONGEST_AFTER_ANSWERS_SECONDS", 0.2)
    async with started(tmp_path) as service:
        for _ in range(4):
            await eventually(lambda: service.sample("als_workers") == 2, 60)
            for worker in workers_of(os.getpid()):
                worker.kill()
            await eventually(lambda: service.sample("als_workers") == 0, 60)
        await eventually(lambda: len(pauses(caplog)) == 8, 60)
    assert pauses(caplog) == [0.1] * 2 + [0.2] * 6


async def test_a_worker_that_cannot_be_started_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Processes or memory may be lacking for a while."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    async with started(tmp_path):
        await eventually(lambda: len(pauses(caplog)) >= 2, 60)
    assert "could not be started: No such file or directory" in caplog.text
