"""Draws the dashboard with what a real Prometheus answers of a real server.

    python -m tests.pictures.dashboard > docs/images/dashboard.svg

A minute and a half of the sample shop: asked all the time, with a candidate for some users; a model is swapped, a file
is refused. Needs prometheus.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from math import isnan
from pathlib import Path
from typing import Any

from service.training.sample import write_sample
from tests.ops.test_grafana import DASHBOARD, expanded
from tests.pictures.drawing import Series, draw
from tests.support.helpers import put
from tests.support.monitoring import Prometheus, running_prometheus
from tests.support.running import RunningServer, running_server

SECONDS = 90
Panel = dict[str, Any]
_S3 = next(panel["gridPos"]["y"] for panel in DASHBOARD["panels"] if panel["title"] == "S3")
#: The shop has no S3, and below that row stands little that moves within a minute.
_SHOWN = {"panels": [panel for panel in DASHBOARD["panels"] if panel["gridPos"]["y"] < _S3]}
SERVE = (sys.executable, "-m", "service")


def _models(directory: Path) -> list[bytes]:
    """Return three models of the sample shop."""
    data = write_sample(directory).interactions
    path = directory / "trained.npz"
    made = []
    for factors in ("32", "24", "40"):
        subprocess.run(
            [*SERVE, "train", str(data), "--factors", factors, "--model-path", str(path)],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        made.append(path.read_bytes())
    return made


def _ask(server: RunningServer, users: list[object], items: list[object], stop: threading.Event) -> None:
    draw_of = random.Random(1)
    while not stop.wait(draw_of.expovariate(60)):
        user, item = draw_of.choice(users), draw_of.choice(items)
        kind = draw_of.random()
        path = f"/v1/users/{user if kind < 0.9 else 'nobody'}/{'recommendations' if kind < 0.95 else 'similar'}"
        body = None
        if kind < 0.1:
            path, body = "/v1/recommendations/anonymous", json.dumps({"items": [{"item_id": item}]}).encode()
        request = urllib.request.Request(server.url + path, body, {"Content-Type": "application/json"})
        try:
            urllib.request.urlopen(request, timeout=30).close()
        except urllib.error.HTTPError as error:
            error.close()


def _happens(server: RunningServer, model: Path, models: list[bytes]) -> None:
    """Swap after a third of the time, and have a file refused after two thirds."""
    time.sleep(SECONDS / 3)
    server.wait_until_serving(put(model, models[1]))
    time.sleep(SECONDS / 3)
    put(model, models[0][:1000])
    server.wait_for("rejected")
    time.sleep(SECONDS / 3)


def _answers(prometheus: Prometheus, end: int) -> dict[int, list[Series]]:
    """Return what every query answered over the time; of a panel that shows but the last value, what still does."""
    return {
        panel["id"]: [
            series
            for target in panel["targets"]
            for series in _series(prometheus, panel, target, end)
            if panel["type"] == "timeseries" or not isnan(series.values[-1])
        ]
        for panel in _SHOWN["panels"]
        if panel["type"] != "row"
    }


def _marks(prometheus: Prometheus, end: int) -> list[tuple[float, str]]:
    """Return the annotations' places in time and their colours; their values are times."""
    marks = []
    for annotation in DASHBOARD["annotations"]["list"]:
        query = {
            "query": expanded(annotation["target"]["expr"]),
            "start": str(end - SECONDS),
            "end": str(end),
            "step": "1",
        }
        found = prometheus.get("query_range", **query)["result"]
        moments = {float(value) / 1000 for series in found for _, value in series["values"]}
        marks += [(1 - (end - moment) / SECONDS, annotation["iconColor"]) for moment in sorted(moments)]
    return [(share, colour) for share, colour in marks if 0 <= share <= 1]


def _series(prometheus: Prometheus, panel: Panel, target: dict[str, str], end: int) -> Iterator[Series]:
    times = range(end - SECONDS, end + 1)
    query = {"query": expanded(target["expr"]), "start": str(times[0]), "end": str(times[-1]), "step": "1"}
    legend = _column_names(panel).get(target["refId"]) or target.get("legendFormat", "")
    for found in prometheus.get("query_range", **query)["result"]:
        values = dict(found["values"])
        numbers = [float(values.get(moment, "NaN")) for moment in times]
        if not all(map(isnan, numbers)):
            yield Series(_legend(legend, found["metric"]), found["metric"], numbers)


def _column_names(panel: Panel) -> dict[str, str]:
    """Return the names of a table's columns, by the letter of their query."""
    for transformation in panel.get("transformations", []):
        if transformation["id"] == "organize":
            return {name[-1]: shown for name, shown in transformation["options"]["renameByName"].items()}
    return {}


def _legend(form: str, labels: dict[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda name: labels.get(name[1], ""), form)


def main() -> None:
    """Run the shop, watch it, and print the picture."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        *models, tried = _models(directory)
        model, candidate = directory / "als_model.npz", directory / "candidate.npz"
        put(model, models[0])
        put(candidate, tried)
        with running_server(
            model, directory / "state", candidate_path=candidate, candidate_percent=20, candidate_shadow=0.2
        ) as server:
            server.wait_until_ready()
            server.wait_for("candidate")
            items = [item["item_id"] for item in server.get("/v1/items/popular?n=200")[1]["items"]]
            users = [user["user_id"] for user in server.get("/v1/users/ana-0000/similar?n=200")[1]["users"]]
            stop = threading.Event()
            asking = threading.Thread(target=_ask, args=(server, users, items, stop))
            asking.start()
            try:
                with running_prometheus(directory, [server.url.removeprefix("http://")]) as prometheus:
                    _happens(server, model, models)
                    end = int(time.time())
                    sys.stdout.write(draw(_SHOWN, _answers(prometheus, end), _marks(prometheus, end)))
            finally:
                stop.set()
                asking.join()


if __name__ == "__main__":
    main()
