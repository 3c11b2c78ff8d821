"""What we ship for Prometheus: it is accepted, every alert fires when it should, and one reaches a person."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from service.tokens import digest_of
from tests.support import ROOT
from tests.support.helpers import model_bytes, put
from tests.support.monitoring import SHIPPED, need_prometheus, running_alertmanager, running_prometheus
from tests.support.running import running_server
from tests.support.waiting import until

RULES = sorted((SHIPPED / "rules").glob("*.yml"))
CASES = sorted((SHIPPED / "rules" / "tests").glob("*.yml"))
ALERTS = re.findall(r"- alert: (\w+)", (SHIPPED / "rules" / "alerts.yml").read_text("utf-8"))


def promtool(*arguments: object) -> None:
    """Run promtool, which must find nothing wrong."""
    need_prometheus()
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_configuration_and_the_rules() -> None:
    """Prometheus would start with these files."""
    promtool("check", "config", SHIPPED / "prometheus.yml")
    promtool("check", "rules", *RULES)


def test_every_alert_fires_when_it_should_and_is_silent_when_not() -> None:
    """Promtool plays the series of each case to the rules."""
    promtool("test", "rules", *CASES)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_cases_of_both_kinds(alert: str) -> None:
    """At least one in which it fires and one in which it does not."""
    pattern = rf'expr: ALERTS{{alertname="{alert}", alertstate="firing"}}\n +eval_time: \w+\n +exp_samples:( \[\])?'
    silent = [found[1] is not None for case in CASES for found in re.finditer(pattern, case.read_text("utf-8"))]
    assert set(silent) == {True, False}


def test_every_alert_has_its_place_in_the_runbook() -> None:
    """Every alert has a heading in the runbook."""
    runbook = (ROOT / "ops" / "runbook.md").read_text("utf-8")
    assert re.findall(r"^## (Als\w+)$", runbook, re.MULTILINE) == ALERTS


@contextmanager
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Listen for alerts; give the address and the alerts that came."""
    came: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", came
        finally:
            server.shutdown()
            thread.join()


def test_a_refused_model_reaches_a_person(tmp_path: Path) -> None:
    """Server, Prometheus with our files, Alertmanager, webhook: all of them real, and all rules evaluate."""
    need_prometheus()
    model = tmp_path / "als_model.npz"
    put(model, model_bytes())
    with running_server(model, tmp_path / "state") as server, webhook() as (url, came):
        server.wait_until_ready()
        target = server.url.removeprefix("http://")
        with (
            running_alertmanager(tmp_path, url) as alertmanager,
            running_prometheus(tmp_path, [target], alertmanager) as prometheus,
        ):
            prometheus.wait_for("als_model_last_reload_successful == 1")
            put(model, b"no model")
            until(lambda: came, lambda: "no alert came")
            until(lambda: {rule["health"] for rule in prometheus.rules()} == {"ok"}, lambda: "a rule does not evaluate")
            rules = prometheus.rules()
    alert = came[0]
    assert alert["labels"] == {
        "alertname": "AlsReloadFailed",
        "instance": target,
        "job": "als-serve",
        "severity": "warning",
    }
    assert alert["status"] == "firing"
    assert alert["annotations"]["summary"] == f"{target} rejected the last model file"
    assert alert["annotations"]["runbook_url"] == "ops/runbook.md#alsreloadfailed"
    described = [rule for rule in rules if rule["type"] == "alerting"]
    assert [rule["name"] for rule in described] == ALERTS
    for rule in described:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert {"summary", "description"} <= rule["annotations"].keys()
        assert rule["annotations"]["runbook_url"].endswith(f"ops/runbook.md{{{{ end }}}}#{rule['name'].lower()}")


def test_a_server_with_tokens_is_scraped(tmp_path: Path) -> None:
    """The example that is commented out in our configuration is all that Prometheus needs; without it, it gets 401."""
    need_prometheus()
    tokens, token = tmp_path / "tokens", tmp_path / "als-serve.token"
    token.write_text("als_of-prometheus\n")
    tokens.write_text(f"prometheus metrics {digest_of('als_of-prometheus')}\n")
    with running_server(tmp_path / "model.npz", tmp_path / "state", tokens_file=tokens) as server:
        targets = [server.url.removeprefix("http://")]
        with running_prometheus(tmp_path, targets, token=token) as prometheus:
            prometheus.wait_for('als_token_requests_total{token="prometheus", outcome="admitted"} > 0')
        with running_prometheus(tmp_path, targets) as prometheus:
            prometheus.wait_for("up == 0")
