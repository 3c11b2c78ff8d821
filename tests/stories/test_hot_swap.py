"""The story of a hot swap: under load, on the real server, no request fails and none mixes two models."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.support.load import open_loop
from tests.support.running import running_server
from tests.support.swapping import TOP, TwoModels, replace_repeatedly

SWAPS = 20


async def test_no_request_fails_or_mixes_two_models_across_swaps(tmp_path: Path) -> None:
    """200 requests a second while the file is replaced 20 times: 0 failed, 0 mixed, the last model is served."""
    models = TwoModels.make(users=500, items=3000, factors=16)
    path = tmp_path / "als_model.npz"
    first, second = models.contents
    models.put(first, path)
    with running_server(path, tmp_path / "state") as server:
        await asyncio.to_thread(server.wait_until_ready)
        stop = asyncio.Event()
        load = asyncio.create_task(open_loop(server.url, _path, 200, stop))
        await replace_repeatedly(models, path, SWAPS, seconds=0.25)
        await asyncio.to_thread(server.wait_until_serving, first)
        stop.set()
        answers = await load
    assert [answer for answer in answers if answer.status != 200] == []
    assert [answer for answer in answers if models.is_mixed(answer)] == []
    assert {answer.version for answer in answers} == {first, second}


def _path(number: int) -> str:
    return f"/v1/users/{number * 7919 % 500}/recommendations?n={TOP}"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_path_that_is_not_utf_8_is_a_path(tmp_path: Path, workers: int) -> None:
    """Models at such a path are served, swapped and resumed; answers name it as a URI."""
    directory = tmp_path / os.fsdecode(b"caf\xe9")
    directory.mkdir()
    models = TwoModels.make(users=20, items=30, factors=4)
    first, second = models.contents
    path, state = directory / "model", directory / "state"
    models.put(first, path)
    with running_server(path, state, workers=workers) as server:
        server.wait_until_serving(first)
        models.put(second, path)
        server.wait_until_serving(second)
        assert server.get("/v1/model")[1]["source"]["path"] == f"{tmp_path.as_uri()}/caf%E9/model"
    with running_server(path, state, workers=workers) as server:
        server.wait_for("resumed", model_version=second)
        server.wait_until_serving(second)
