"""The story of several servers behind a proxy: a restart of all, and a new model for all, fail no request."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.load import open_loop
from tests.support.proxied import running_fleet
from tests.support.swapping import TOP, TwoModels

SERVERS = 3
#: The proxy forgets a server so long after its SIGTERM; the server answers for much longer.
LATE_SECONDS, DRAIN_SECONDS = 0.7, 4


async def test_neither_a_rolling_restart_nor_a_new_model_fails_a_request(tmp_path: Path) -> None:
    """All servers are replaced and all take a new model under load: 0 failed, 0 mixed, and each ends with 0.

    HAProxy checks nothing, tries nothing again, and forgets each server too late.
    """
    models = TwoModels.make(users=200, items=500, factors=8)
    first, second = models.contents
    model = tmp_path / "als_model.npz"
    models.put(first, model)
    with running_fleet(model, tmp_path, SERVERS, DRAIN_SECONDS) as (fleet, proxy):
        stop = asyncio.Event()
        load = asyncio.create_task(open_loop(proxy.url, _path, 60, stop))
        await asyncio.to_thread(fleet.restart, LATE_SECONDS)
        models.put(second, model)
        await asyncio.to_thread(fleet.wait_until_serving, second)
        stop.set()
        answers = await load
        codes = [server.process.wait(60) for server in fleet.stopped]
    assert [answer for answer in answers if answer.status != 200] == []
    assert [answer for answer in answers if models.is_mixed(answer)] == []
    assert {answer.version for answer in answers} == {first, second}
    assert codes == [0] * SERVERS


def _path(number: int) -> str:
    return f"/v1/users/{number * 7919 % 200}/recommendations?n={TOP}"
