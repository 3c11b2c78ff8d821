"""A candidate on the real server: from a file and from S3, in every process, and under load."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import RawTestServer
from prometheus_client import CollectorRegistry

from service.api import create_api
from service.app import create_keeping
from service.live.generation import Slot
from service.live.steering import Steering
from service.model.rollout.arms import Experiment
from service.observe.metrics import Metrics
from service.settings import Settings
from tests.stories.test_administration import Administered, administrators
from tests.support.fleets import Fleet
from tests.support.helpers import at_work, eventually, model_bytes, put, version
from tests.support.load import Answer, open_loop
from tests.support.running import RunningServer, running_server
from tests.support.seaweed import Seaweed
from tests.support.swapping import TOP, TwoModels, replace_repeatedly
from tests.support.workers import samples

PERCENTAGES, SWAPS = 200, 50
SERVED, CANDIDATE, NEXT = model_bytes(1), model_bytes(2), model_bytes(3)


def arms(server: RunningServer, users: int = 40) -> dict[str, str | None]:
    """Return the arm of each user, None where answers name none; and check that the model is that of the arm."""
    found = {}
    described = server.get("/v1/model")[1]
    for user in map(str, range(users)):
        status, body = server.get(f"/v1/users/{user}/recommendations")
        assert status == 200
        found[user] = body.get("arm")
        model = described["candidate"] if found[user] == "candidate" else described
        assert body["model_version"] == model["model_version"]
    return found


def expected(percent: float, name: str = "default", users: int = 40) -> dict[str, str]:
    """Return the arm of each user."""
    experiment = Experiment(name, percent)
    return {user: experiment.arm_of(user) for user in map(str, range(users))}


def has_candidate(server: RunningServer, wanted: str | None, percent: float) -> bool:
    """Say whether a server describes this candidate."""
    found = server.get("/v1/model")[1]["candidate"]
    if found is None or wanted is None:
        return found is wanted
    return (found["model_version"], found["percent"]) == (wanted, percent)


def wait_until_compared(server: RunningServer, requests: int) -> None:
    """Return once the candidate has answered so many requests in the background."""
    compared = "als_shadow_requests_total[('outcome', 'compared')]"
    server.wait_until(lambda: samples(server.url)[compared] == requests)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_candidate_from_a_file(tmp_path: Path, workers: int) -> None:
    """Its users get it, from every process; also after a restart; and once its file is gone, nobody does."""
    path, state, candidate = tmp_path / "model.npz", tmp_path / "state", tmp_path / "candidate.npz"
    put(path, SERVED)
    put(candidate, CANDIDATE)
    settings: dict[str, Any] = {
        "workers": workers,
        "candidate_path": candidate,
        "candidate_percent": 30,
        "candidate_shadow": 1,
        "experiment": "colours",
    }
    for _ in range(2):
        with running_server(path, state, **settings) as server:
            server.wait_until(lambda: all(has_candidate(server, version(CANDIDATE), 30) for _ in range(20)))
            for _ in range(5):  # any worker may answer
                assert arms(server) == expected(30, "colours")
            wait_until_compared(server, 5 * list(expected(30, "colours").values()).count("served"))
    with running_server(path, state, **settings) as server:
        server.wait_until_ready()
        server.wait_until(lambda: has_candidate(server, version(CANDIDATE), 30))
        put(candidate, NEXT)
        server.wait_until(lambda: has_candidate(server, version(NEXT), 30))
        candidate.unlink()
        server.wait_for("candidate_gone", model_version=version(NEXT))
        server.wait_until(lambda: has_candidate(server, None, 0))
        server.wait_until(lambda: set(arms(server).values()) == {None})


@pytest.fixture
def fleet(seaweed: Seaweed, versioned_bucket: str, tmp_path: Path) -> Fleet:
    """Return a prefix of its own, with versions."""
    return Fleet(seaweed, versioned_bucket, tmp_path)


def test_a_candidate_from_s3(fleet: Fleet) -> None:
    """What the command says counts on a server that follows the prefix, over its settings, until it is turned off.

    A reload looks at that at once, however rarely the server polls.
    """
    candidate = fleet.publish(CANDIDATE)
    fleet.publish(SERVED)
    with fleet.server(candidate_percent=90) as server:
        server.wait_until_serving(version(SERVED))
        assert set(arms(server).values()) == {None}
        fleet.run("candidate", candidate, "--percent", "20")
        server.wait_until(lambda: has_candidate(server, version(CANDIDATE), 20))
        assert arms(server) == expected(20)
        fleet.run("candidate", candidate, "--percent", "60")
        server.wait_until(lambda: has_candidate(server, version(CANDIDATE), 60))
        assert arms(server) == expected(60)
    tokens = administrators(fleet.directory)
    with fleet.server(candidate_percent=90, tokens_file=tokens, s3_poll_seconds=3600) as server:
        server.wait_until(lambda: has_candidate(server, version(CANDIDATE), 60))
        fleet.run("candidate", fleet.uri, "--off")
        assert Administered(fleet.path, server, server.url).ask("POST", "reload")[0] == 200
        server.wait_for("candidate_gone")
        server.wait_until(lambda: set(arms(server).values()) == {None})
        assert not (fleet.directory / "state" / "candidate.model").exists()


async def test_no_request_fails_or_mixes_two_models(tmp_path: Path) -> None:
    """200 changes of the percentage and 50 swaps of either model under load: 0 failed, 0 mixed, each of its own arm."""
    of_arm = {
        "served": TwoModels.make(users=500, items=3000, factors=16),
        "candidate": TwoModels.make(users=500, items=3000, factors=16, seeds=(3, 4)),
    }
    settings = Settings(
        model_path=tmp_path / "model.npz",
        candidate_path=tmp_path / "candidate.npz",
        state_dir=tmp_path / "state",
        watch_seconds=0.1,
    )
    assert settings.candidate_path
    paths = {"served": settings.model_path, "candidate": settings.candidate_path}
    for arm, path in paths.items():
        of_arm[arm].put(next(iter(of_arm[arm].contents)), path)

    def is_wrong(answer: Answer) -> bool:
        arm = answer.body.get("arm", "served")
        return answer.status != 200 or of_arm[arm].is_mixed(answer)

    async with kept(settings) as (url, slot):
        await eventually(lambda: slot.current and slot.current.candidate, seconds=60)
        stop = asyncio.Event()
        load = asyncio.create_task(open_loop(url, _path, 100, stop))
        swapping = [replace_repeatedly(of_arm[arm], path, SWAPS, seconds=0.25) for arm, path in paths.items()]
        await asyncio.gather(*swapping, change_percentage(Steering(slot, Experiment(), settings.state_dir)))
        stop.set()
        answers = await load
    assert [answer for answer in answers if is_wrong(answer)] == []
    assert {(answer.body["arm"], answer.version) for answer in answers} == {
        (arm, version) for arm, models in of_arm.items() for version in models.contents
    }


def _path(number: int) -> str:
    return f"/v1/users/{number * 7919 % 500}/recommendations?n={TOP}"


async def change_percentage(steering: Steering) -> None:
    """Change who gets the candidate, as an administrator would."""
    for number in range(PERCENTAGES):
        await steering.set_by_admin(number * 37 % 101)
        await asyncio.sleep(0.06)


@asynccontextmanager
async def kept(settings: Settings) -> AsyncIterator[tuple[str, Slot]]:
    """Run a server in this process; yield its address, and what it answers from."""
    metrics = Metrics(CollectorRegistry())
    keeping = create_keeping(settings, metrics)
    router, context = create_api(settings, keeping.status, metrics)
    server = RawTestServer(router.answer, host="127.0.0.1")
    await server.start_server(access_log=None)
    async with AsyncExitStack() as stack:
        for work in keeping.works.values():
            await stack.enter_async_context(at_work(work()))  # type: ignore[arg-type]  # each is a coroutine
        yield f"http://127.0.0.1:{server.port}", keeping.status.slot
    await server.close()
    context.queries.close()
