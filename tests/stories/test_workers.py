"""The story of several workers on one port: killed, scraped, drained, and always with the same model."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from tests.support.helpers import need
from tests.support.load import open_loop
from tests.support.running import RunningServer, running_server
from tests.support.swapping import TOP, TwoModels, replace_repeatedly
from tests.support.workers import lasting, samples, scrape, workers_of

pytestmark = pytest.mark.usefixtures("children_are_measured")

WORKERS = 2
MODELS = TwoModels.make(users=200, items=500, factors=8)
FIRST, SECOND = MODELS.contents


class Service:
    """A running service of several workers, with what it is given."""

    def __init__(self, directory: Path, server: RunningServer) -> None:
        self.model = directory / "als_model.npz"
        self.titles = directory / "titles.csv"
        self.server = server

    @property
    def workers(self) -> list[int]:
        """Return the workers' process ids."""
        return [worker.pid for worker in workers_of(self.server.process.pid)]

    @property
    def management(self) -> str:
        """Return the address of the management port."""
        return f"http://127.0.0.1:{self.server.wait_for('managing')['port']}"

    def wait_for_workers(self) -> None:
        """Return once all of them answer."""
        self.server.wait_until(lambda: samples(self.server.url).get("als_workers") == WORKERS)

    def kill_one(self) -> None:
        """Kill a worker, and return once another one answers in its place."""
        victim = self.workers[0]
        os.kill(victim, signal.SIGKILL)
        self.server.wait_until(lambda: victim not in self.workers)
        self.wait_for_workers()

    def everywhere(self, path: str) -> list[str]:
        """Return what each worker answers: each of many open connections goes to the worker that has fewest."""
        with ExitStack() as stack:
            return [self._ask(stack, path) for _ in range(8 * WORKERS)]

    def _ask(self, stack: ExitStack, path: str) -> str:
        connection = HTTPConnection(self.server.url.removeprefix("http://"), timeout=30)
        stack.callback(connection.close)
        connection.request("GET", path)
        return connection.getresponse().read().decode()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service that all these tests share; each leaves all its workers answering."""
    directory = tmp_path_factory.mktemp("workers")
    MODELS.put(FIRST, directory / "als_model.npz")
    (directory / "titles.csv").write_text("id,title\n" + "".join(f"{item},Item {item}\n" for item in range(500)))
    with running_server(
        directory / "als_model.npz",
        directory / "state",
        workers=WORKERS,
        management_port=0,
        items=directory / "titles.csv",
    ) as server:
        running = Service(directory, server)
        running.wait_for_workers()
        server.wait_until_serving(FIRST)
        yield running


def recommendations(number: int) -> str:
    """Return the path of a request."""
    return f"/v1/users/{number * 7919 % 200}/recommendations?n={TOP}"


async def test_a_killed_worker_fails_only_its_own_connections(service: Service) -> None:
    """Clients of other workers notice nothing, and a new worker takes its place."""
    async with aiohttp.ClientSession() as first:  # one connection, which is kept
        await (await first.get(service.server.url + "/healthz")).read()
        holder = next(pid for pid in service.workers if connected(pid, service.server))
        other = next(pid for pid in service.workers if pid != holder)
        os.kill(other, signal.SIGKILL)
        for number in range(50):
            async with first.get(service.server.url + recommendations(number)) as answer:
                assert answer.status == 200
    await asyncio.to_thread(service.server.wait_until, lambda: other not in service.workers)
    await asyncio.to_thread(service.wait_for_workers)
    assert len(service.workers) == WORKERS
    assert service.server.wait_for("worker_ended")["detail"].startswith("was killed by SIGKILL")


def connected(pid: int, server: RunningServer) -> bool:
    """Say whether a process has an open connection of a client."""
    port = int(server.url.rsplit(":", 1)[1])
    return any(
        connection.laddr.port == port and connection.status == psutil.CONN_ESTABLISHED
        for connection in psutil.Process(pid).net_connections("tcp")
    )


def test_counters_never_fall_over_kills(service: Service) -> None:
    """Every answered request is counted, whichever worker is killed, and no series falls."""
    labels = "('arm', 'served'), ('method', 'GET'), ('route', '/v1/users/{user}/items'), ('status', '404')"
    name = f"als_http_requests_total[{labels}]"
    service.everywhere("/healthz")
    before = lasting(service.server.url)
    for _ in range(2):
        for _ in range(20):
            service.server.get("/v1/users/none/items")
        service.kill_one()
        after = lasting(service.server.url)
        assert {key: value for key, value in before.items() if after.get(key, -1.0) < value} == {}
        assert after[name] - before.get(name, 0.0) == 20
        before = after


def test_every_worker_and_the_management_port_tell_the_same(service: Service) -> None:
    """One scrape is enough, whichever worker answers it, and so is one request for the model."""
    assert len(set(service.everywhere("/v1/model"))) == 1
    counted = "als_results_total[('arm', 'served'), ('strategy', 'als')]"
    told = {samples(service.server.url)[counted] for _ in range(8)} | {samples(service.management)[counted]}
    assert len(told) == 1


def test_the_scrape_is_as_prometheus_wants_it(service: Service) -> None:
    """The sum of several processes passes promtool's checks."""
    promtool = shutil.which("promtool")
    need(promtool is not None, "promtool is not installed")
    checked = subprocess.run(
        [str(promtool), "check", "metrics"],
        input=scrape(service.management),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


async def test_a_swap_fails_no_request_and_none_goes_back(service: Service) -> None:
    """Under load, all workers switch models; no request fails or mixes them, and no connection goes back."""
    stop = asyncio.Event()
    load = asyncio.create_task(open_loop(service.server.url, recommendations, 100, stop))
    watching = [asyncio.create_task(generations(service.server.url, stop)) for _ in range(4 * WORKERS)]
    await replace_repeatedly(MODELS, service.model, 4, seconds=1)
    await asyncio.to_thread(service.server.wait_until, lambda: versions(service) == {FIRST})
    stop.set()
    answers = await load
    assert [answer for answer in answers if answer.status != 200 or MODELS.is_mixed(answer)] == []
    for seen in await asyncio.gather(*watching):
        assert seen == sorted(seen)


async def generations(url: str, stop: asyncio.Event) -> list[str]:
    """Return when each model was put into service that one connection has answered from, as it saw them."""
    seen: list[str] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
        while not stop.is_set():
            async with session.get(url + "/v1/model") as answer:
                seen.append((await answer.json())["loaded_at"])
            await asyncio.sleep(0.02)
    return seen


def versions(service: Service) -> set[str]:
    """Return the versions that workers answer from."""
    return {json.loads(answer)["model_version"] for answer in service.everywhere("/v1/model")}


def test_titles_are_swapped_everywhere(service: Service) -> None:
    """A new titles file shows in the answers of all workers."""
    service.titles.write_text("id,title\n" + "".join(f"{item},New {item}\n" for item in range(500)))
    path = "/v1/users/1/recommendations?n=1&titles=true"
    service.server.wait_until(
        lambda: all(json.loads(answer)["items"][0]["title"].startswith("New") for answer in service.everywhere(path))
    )


def test_the_management_port_answers_what_is_asked_of_it_alone(service: Service) -> None:
    """It has health, readiness and metrics, but no data."""
    for path in ("/healthz", "/readyz"):
        with urllib.request.urlopen(service.management + path, timeout=30) as answer:
            assert answer.status == 200
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(service.management + "/v1/model", timeout=30)
    assert refused.value.code == 404
    refused.value.close()


async def test_sigterm_drains_all_workers(tmp_path: Path) -> None:
    """After SIGTERM all workers report not ready but still answer; no request fails, and the service exits with 0."""
    MODELS.put(FIRST, tmp_path / "m.npz")
    with running_server(tmp_path / "m.npz", tmp_path / "state", workers=2, drain_seconds=1) as server:
        await asyncio.to_thread(server.wait_until_ready)
        stop = asyncio.Event()
        load = asyncio.create_task(open_loop(server.url, recommendations, 50, stop))
        await asyncio.sleep(0.2)
        workers = workers_of(server.process.pid)
        server.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(server.wait_until, lambda: server.get("/readyz")[0] == 503)
        stop.set()
        answers = await load
        assert await asyncio.to_thread(server.process.wait, 60) == 0
    assert {answer.status for answer in answers} == {200}
    assert psutil.wait_procs(workers, timeout=0)[1] == []


def test_workers_end_with_their_keeper(tmp_path: Path) -> None:
    """A killed keeper leaves no worker behind that would keep the port open, so the service can be restarted."""
    MODELS.put(FIRST, tmp_path / "m.npz")
    with running_server(tmp_path / "m.npz", tmp_path / "state", workers=2) as server:
        server.wait_until_ready()
        workers = workers_of(server.process.pid)
        server.stop(signal.SIGKILL)
        assert len(workers) == 2
        assert psutil.wait_procs(workers, timeout=60)[1] == []


def candidate_of(server: RunningServer) -> str | None:
    """Return the version of the candidate, None while there is none, or no served model yet."""
    candidate: dict[str, Any] = server.get("/v1/model")[1]["candidate"] or {}
    return candidate.get("model_version")


@pytest.mark.parametrize("shelf", ["snapshots", "candidates"])
def test_what_is_lost_on_disk_does_not_keep_new_workers_out(tmp_path: Path, shelf: str) -> None:
    """The served model and the candidate are imported again; meanwhile, the candidate is done without."""
    MODELS.put(FIRST, tmp_path / "m.npz")
    MODELS.put(SECOND, tmp_path / "c.npz")
    with running_server(
        tmp_path / "m.npz", tmp_path / "state", workers=2, candidate_path=tmp_path / "c.npz", candidate_percent=0
    ) as server:
        server.wait_until(lambda: candidate_of(server) == SECOND)
        for snapshot in (tmp_path / "state" / shelf).iterdir():
            snapshot.rename(tmp_path / f"lost-{snapshot.name}")  # at once, because the keeper may clean up meanwhile
        workers = workers_of(server.process.pid)
        for worker in workers:
            worker.kill()
        assert psutil.wait_procs(workers, timeout=60)[1] == []
        assert server.get("/v1/model")[1]["model_version"] == FIRST
        server.wait_for("candidate_lost" if shelf == "candidates" else "not_answering")
        server.wait_until(lambda: all(candidate_of(server) == SECOND for _ in range(20)))  # in both workers
