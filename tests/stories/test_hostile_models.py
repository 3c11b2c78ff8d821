"""A hostile model: the real server rejects it, says why, and continues to serve as before."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import psutil
import pytest

from service.errors import ImportCpuError, ImportCrashedError, ImportMemoryError, ImportTimeoutError
from service.model.storage.snapshot import FORMAT_VERSION
from tests.support.helpers import put
from tests.support.hostile import BOMBS, bomb, corpus
from tests.support.hostile.opcodes import array, dtype, found, group, model, number, pairs, raw, text, whole
from tests.support.load import open_loop
from tests.support.running import RunningServer, running_server
from tests.support.swapping import TOP, TwoModels

# Each of these is read on its own elsewhere, with its exact sentence; here every sixteenth goes all the way.
EVERY = 16
CHILD_ENDS = {kind.code for kind in (ImportCpuError, ImportCrashedError, ImportMemoryError, ImportTimeoutError)}


async def test_hostile_files_change_nothing_for_requests(tmp_path: Path) -> None:
    """One after the other: each is refused with its reason, no request fails, nothing is executed or left behind."""
    marker = tmp_path / "executed"
    files = dict(list(corpus(marker).items())[::EVERY])
    models = TwoModels.make(users=300, items=400, factors=8)
    path = tmp_path / "model"
    version = next(iter(models.contents))
    models.put(version, path)
    with running_server(path, tmp_path / "state", import_timeout_seconds=5) as server:
        await asyncio.to_thread(server.wait_until_ready)
        before = _memory(server)
        stop = asyncio.Event()
        load = asyncio.create_task(open_loop(server.url, _path, 50, stop))
        for name, file in files.items():
            reload = await asyncio.to_thread(_refusal, server, path, file.content)
            assert (name, reload["reason"]) == (name, file.error.code)
            await asyncio.to_thread(server.wait_for, "rejected", detail=file.sentence.format(path=path))
        for name in BOMBS:
            reload = await asyncio.to_thread(_refusal, server, path, bomb(name).content)
            assert reload["reason"] in CHILD_ENDS | {bomb(name).error.code}, (name, reload)
        stop.set()
        answers = await load
        assert {answer.status for answer in answers} == {200}
        assert [answer for answer in answers if models.is_mixed(answer)] == []
        assert _memory(server) - before < 20 * 2**20
        assert psutil.Process(server.process.pid).children() == []
        assert await asyncio.to_thread(server.get, "/readyz") == (200, {"status": "ready"})
    assert not marker.exists()
    assert [entry.name for entry in (tmp_path / "state" / "snapshots").iterdir()] == [f"{FORMAT_VERSION}-{version}"]


def _path(number: int) -> str:
    return f"/v1/users/{number % 300}/recommendations?n={TOP}"


def _refusal(server: RunningServer, path: Path, content: bytes) -> dict[str, Any]:
    """Replace the model by a hostile file and return how its reload ended."""
    earlier = _last_reload(server)["finished_at"]
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.replace(path)

    def ended() -> dict[str, Any] | None:
        reload = _last_reload(server)
        return reload if reload["finished_at"] != earlier else None

    return server.wait_until(ended)


def _last_reload(server: RunningServer) -> dict[str, Any]:
    reload: dict[str, Any] = server.get("/v1/model")[1]["last_reload"]
    return reload


def _memory(server: RunningServer) -> int:
    memory: int = psutil.Process(server.process.pid).memory_full_info().uss
    return memory


def test_a_good_file_does_not_wait_for_a_bad_one(tmp_path: Path) -> None:
    """The import of keys that collide, which would take all of its CPU time, ends when the good file arrives."""
    models = TwoModels.make(users=20, items=30, factors=4)
    first = next(iter(models.contents))
    path = tmp_path / "model"
    with running_server(path, tmp_path / "state") as server:
        server.wait_for("waiting")
        put(path, bomb("keys that collide").content)
        server.wait_until(lambda: psutil.Process(server.process.pid).children())
        models.put(first, path)
        server.wait_until_serving(first)
        reloads = server.get("/v1/model")[1]["reloads"]
    assert [reload["reason"] for reload in reloads] == ["", "file_missing"]


def test_clients_see_nothing_of_what_is_in_a_file(tmp_path: Path) -> None:
    """Behind a link at the model path may be any file; the log quotes it only if it looks like a model."""
    ids = {
        "user_id_map": b"}" + number(0) + text("hunter2") + b"s",
        "product_id_map": b"}" + number(0) + text("") + b"s",
    }
    factors = array(dtype("f4"), group(number(1), number(2)), raw(bytes(8)))
    others = [b"root:hunter2:0:0::/root:/bin/sh\n", b"<Error><Code>hunter2</Code></Error>", b"\0hunter2", b"{hunter2}"]
    models = [
        b"chunter2\nhunter2\n",
        whole(found("hunter2", "hunter2")),
        whole(pairs({"model": found("implicit.als", "AlternatingLeastSquares"), **ids})),
        model(factors).replace(b"K\x07s", text("hunter2") + b"s"),
    ]
    path = tmp_path / "model"
    with running_server(path, tmp_path / "state") as server:
        server.wait_for("waiting")
        for content in others:
            _refusal(server, path, content)
        server.wait_until(lambda: sum(event["event"] == "rejected" for event in server.events) == len(others))
        assert "hunter2" not in str(server.events)
        for content in models:
            _refusal(server, path, content)
        assert "hunter2" not in str(server.get("/v1/model"))
        server.wait_until(lambda: "hunter2" in str(server.events))


@pytest.mark.parametrize("good_snapshot", [True, False])
def test_a_bad_file_at_the_start(tmp_path: Path, good_snapshot: bool) -> None:
    """With a good snapshot on disk it is served, and marked stale; without one the server waits for a good file."""
    models = TwoModels.make(users=20, items=30, factors=4)
    path, state = tmp_path / "model", tmp_path / "state"
    first, second = models.contents
    if good_snapshot:
        models.put(first, path)
        with running_server(path, state) as server:
            server.wait_until_ready()
    path.write_bytes(b"<html><body>502 Bad Gateway</body></html>")
    with running_server(path, state) as server:
        server.wait_for("rejected")
        if good_snapshot:
            server.wait_until_serving(first)
            assert server.get("/v1/model")[1]["state"] == "stale"
        else:
            server.wait_for("waiting")
            status, problem = server.get("/v1/users/1/recommendations")
            assert (status, problem["code"]) == (503, "not_ready")
        models.put(second, path)
        server.wait_until_serving(second)
        assert server.get("/v1/model")[1]["state"] == "ready"
