"""The dashboards: each file is what its generator makes, and every query has an answer from a server under load."""

from __future__ import annotations

import asyncio
import json
import math
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from service.s3.location import LATEST
from service.s3.pointer import Pointer
from tests.support import ROOT
from tests.support.helpers import model_bytes, version
from tests.support.models import make_factors
from tests.support.monitoring import Prometheus, need_prometheus, running_prometheus
from tests.support.published import Bucket
from tests.support.running import RunningServer, running_server
from tests.support.seaweed import Seaweed
from tests.support.waiting import until

FILES = sorted((ROOT / "grafana" / "dashboards").glob("*.json"))
DASHBOARDS: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text("utf-8")) for path in FILES}
DASHBOARD = DASHBOARDS["als-serve"]
#: Of all dashboards, so that no two panels have the same title.
PANELS = [panel for board in DASHBOARDS.values() for panel in board["panels"] if panel["type"] != "row"]
TARGETS = {f"{panel['title']}, {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]}
ANNOTATIONS = {found["name"]: found["target"]["expr"] for found in DASHBOARD["annotations"]["list"]}
VARIABLES = {found["name"]: found for found in DASHBOARD["templating"]["list"]}

#: What Grafana puts in the place of its variables.
GIVEN = {"$job": "als-serve", "$instance": ".+", "$arm": ".+", "$__rate_interval": "10s", "$__range": "5m"}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_file_is_what_the_generator_makes(name: str) -> None:
    """To run the generator leaves the file as it is."""
    command = [sys.executable, "-m", "grafana.generate", name]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    file = f"grafana/dashboards/{name}.json"
    assert made.stdout == (ROOT / file).read_text("utf-8"), f"python -m grafana.generate {name} > {file}"


def test_every_panel_can_be_read_at_night() -> None:
    """Each has a title of its own, a description in a sentence and a unit."""
    assert set(DASHBOARDS) == {"als-serve", "als-serve-fleet"}
    for panel in PANELS:
        assert re.fullmatch(r"[A-Z].+[.]", panel["description"], re.DOTALL), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)


@pytest.mark.parametrize("board", DASHBOARDS.values(), ids=DASHBOARDS)
def test_every_panel_has_its_place(board: dict[str, Any]) -> None:
    """No two panels overlap, and rows have the whole width."""
    places = {
        (x, y)
        for panel in board["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    }
    assert len(places) == sum(panel["gridPos"]["w"] * panel["gridPos"]["h"] for panel in board["panels"])
    assert max(x for x, _ in places) == 23
    for key in ("id", "title"):
        assert len({panel[key] for panel in board["panels"]}) == len(board["panels"])


@contextmanager
def repeated(work: Callable[[], None]) -> Iterator[None]:
    """Do something over and over for the length of a block."""
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(0.05):
            work()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def ask(server: RunningServer) -> None:
    """Send one request for each strategy, a batch that takes long, and two that are mistakes."""
    factors = make_factors(users=20, items=30, pairs=60)
    for path in (f"{factors.user_ids[0]}/recommendations", "nobody/recommendations", "nobody/items"):
        server.get(f"/v1/users/{path}")
    server.get("/nowhere")
    server.post("/v1/recommendations/anonymous", {"items": [{"item_id": int(factors.item_ids[0])}]})
    server.post("/v1/recommendations", {"users": factors.user_ids.tolist() * 50})


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, seaweed: Seaweed) -> Iterator[Prometheus]:
    """Watch a real server that follows S3: without a model, with one, with another, with more and more refused.

    It has a candidate, which answers in the background, too. It is asked all the time. Beside it is one that does not
    run.
    """
    need_prometheus()
    directory = tmp_path_factory.mktemp("grafana")
    bucket = Bucket(seaweed, asyncio.run(seaweed.make_bucket(versioned=True)), directory)
    candidate = directory / "candidate.npz"
    served = make_factors(users=20, items=30, pairs=60)
    candidate.write_bytes(model_bytes(factors=replace(served, item_factors=2 * served.item_factors)))
    tried = {"candidate_path": candidate, "candidate_percent": 50, "candidate_shadow": 1}
    follows: dict[str, Any] = {"s3_uri": bucket.prefix, "s3_poll_seconds": 0.2, **tried}
    with running_server(directory / "als_model.npz", directory / "state", seaweed.environment(), **follows) as server:
        targets = [server.url.removeprefix("http://"), "127.0.0.1:1"]
        with running_prometheus(directory, targets) as watching:
            watching.wait_for("als_model_ready == 0")
            assert server.get("/v1/items/popular")[0] == 503
            for seed in (1, 0):
                asyncio.run(bucket.publish(model_bytes(seed)))
                server.wait_until_serving(version(model_bytes(seed)))
            bad = [asyncio.run(bucket.publish(content)) for content in (b"no model", b"nor this")]
            server.wait_for("rejected")
            with repeated(lambda: ask(server)), pointing_to(bucket, bad) as point, repeated(point):
                watching.wait_for('ALERTS{alertname="AlsReloadFailed", alertstate="firing"}')
                yield watching


@contextmanager
def pointing_to(bucket: Bucket, models: list[Pointer]) -> Iterator[Callable[[], None]]:
    """Yield what points to the next of the models, in turn, so that there is always something to download.

    The client is made here, because making one reads the environment, which pytest changes in this thread.
    """
    key = bucket.prefix.key + LATEST
    with asyncio.Runner() as runner:
        opened = bucket.seaweed.client()
        client = runner.run(opened.__aenter__())

        def point() -> None:
            models.reverse()
            body = msgspec.json.encode(models[0])
            runner.run(client.put_object(Bucket=bucket.prefix.bucket, Key=key, Body=body))
            time.sleep(0.5)

        yield point
        runner.run(opened.__aexit__(None, None, None))


def expanded(expression: str) -> str:
    """Return PromQL as Grafana would send it."""
    for variable, value in GIVEN.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    return expression


def answer(prometheus: Prometheus, expression: str) -> list[tuple[dict[str, str], float]]:
    """Return the series of a query that have a number, once there are any."""
    found: list[tuple[dict[str, str], float]] = []

    def has_answered() -> bool:
        found[:] = [series for series in prometheus.query(expanded(expression)) if math.isfinite(series[1])]
        return bool(found)

    until(has_answered, lambda: f"nothing answers {expanded(expression)}")
    return found


@pytest.mark.parametrize("target", TARGETS)
def test_every_panel_answers_with_data(prometheus: Prometheus, target: str) -> None:
    """Each query of each panel has at least one series with a number."""
    assert answer(prometheus, TARGETS[target])


@pytest.mark.parametrize("annotation", ANNOTATIONS)
def test_every_annotation_answers_with_data(prometheus: Prometheus, annotation: str) -> None:
    """The swap and the refusal are marked, at a time in milliseconds."""
    assert min(value for _, value in answer(prometheus, ANNOTATIONS[annotation])) > 1.6e12


@pytest.mark.parametrize("variable", ["job", "instance", "arm"])
def test_every_variable_answers_with_data(prometheus: Prometheus, variable: str) -> None:
    """The choices at the top of the dashboard are there."""
    query = re.fullmatch(r"label_values\((.+), (\w+)\)", VARIABLES[variable]["query"])
    assert query
    assert prometheus.get(f"label/{query[2]}/values", **{"match[]": expanded(query[1])})


def test_there_is_no_variable_besides() -> None:
    """The data source, the job, the instance and the arm are what can be chosen, on each dashboard."""
    for board in DASHBOARDS.values():
        assert board["templating"] == DASHBOARD["templating"]
    assert [*VARIABLES] == ["datasource", "job", "instance", "arm"]
    assert (VARIABLES["datasource"]["type"], VARIABLES["datasource"]["query"]) == ("datasource", "prometheus")


def test_a_server_that_is_down_is_shown_as_not_serving(prometheus: Prometheus) -> None:
    """The first panel is 1 for servers with a model, and 0 for those without a model or an answer."""
    served = sorted(value for _, value in answer(prometheus, TARGETS["Serving, A"]))
    assert served == [0, 1]


def test_provisioning_finds_what_compose_mounts() -> None:
    """The dashboards are looked for where the example has them, and its Prometheus is the data source."""
    provisioning, compose = ROOT / "grafana" / "provisioning", (ROOT / "docker-compose.yml").read_text("utf-8")
    path = re.search(r"path: (\S+)", (provisioning / "dashboards" / "als-serve.yml").read_text("utf-8"))
    assert path
    assert f"./grafana/dashboards:{path[1]}:ro" in compose
    source = re.search(r"url: http://(\w+):9090", (provisioning / "datasources" / "prometheus.yml").read_text("utf-8"))
    assert source
    assert f"\n  {source[1]}:\n" in compose
