"""The story of a hot swap: under load, on the real server, no request fails and none mixes two models."""

from __future__ import annotations

import asyncio
from pathlib import Path

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
