"""A real Prometheus and a real Alertmanager as processes of their own, with the configuration that we ship."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.support import ROOT
from tests.support.containers import free_port
from tests.support.helpers import need
from tests.support.waiting import until

SHIPPED = ROOT / "ops" / "prometheus"

_ALERTING = """
alerting:
  alertmanagers:
    - static_configs:
        - targets: ["{address}"]
"""
#: What is commented out, and what becomes of it.
_AUTHORIZED = (
    ("# authorization:", "authorization:"),
    ("#   credentials_file: /etc/prometheus/als-serve.token", "  credentials_file: TOKEN"),
)
_ALERTMANAGER = """
route: {{receiver: webhook, group_by: [alertname], group_wait: 0s, group_interval: 1s}}
receivers:
  - name: webhook
    webhook_configs: [{{url: "{url}"}}]
"""


def need_prometheus() -> None:
    """Skip the test where Prometheus, promtool or Alertmanager is missing."""
    commands = ("prometheus", "promtool", "prometheus-alertmanager")
    need(all(map(shutil.which, commands)), "apt-get install --no-install-recommends prometheus prometheus-alertmanager")


def prove(expression: str, series: Mapping[str, str], expected: Mapping[str, float], directory: Path) -> None:
    """Have promtool evaluate an expression after five minutes, and compare what it gives.

    series: values of each series, one a minute, as promtool writes them. expected: values by their labels.
    """
    need_prometheus()
    samples = [{"labels": labels, "value": value} for labels, value in expected.items()]
    case = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": expression, "eval_time": "5m", "exp_samples": samples}],
    }
    file = directory / "case.yml"
    file.write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [case]}))
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class Prometheus:
    """A running Prometheus, which is asked over HTTP."""

    def __init__(self, address: str) -> None:
        self._address = address

    def get(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer of its API. Raises urllib.error.HTTPError for an invalid query."""
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return the labels and the value of every series that an expression has now."""
        result = self.get("query", query=expression)["result"]
        return [(series["metric"], float(series["value"][1])) for series in result]

    def rules(self) -> list[dict[str, Any]]:
        """Return every rule with its state."""
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]

    def wait_for(self, expression: str, seconds: float = 30) -> list[tuple[dict[str, str], float]]:
        """Return what an expression has once it has anything."""
        until(lambda: self.query(expression), lambda: f"no series of {expression}", seconds)
        return self.query(expression)


@contextmanager
def running_prometheus(
    directory: Path, targets: Sequence[str], alertmanager: str = "", token: Path | None = None
) -> Iterator[Prometheus]:
    """Run Prometheus with our configuration for the length of a block, against other targets and every second.

    With ``token``, a file, the example that is commented out is used.
    """
    address = f"127.0.0.1:{free_port()}"
    configuration = (SHIPPED / "prometheus.yml").read_text("utf-8")
    for shipped, ours in (
        ('"service:8080"', ", ".join(f'"{target}"' for target in targets)),
        ("interval: 15s", "interval: 1s"),
        ("rules/", f"{SHIPPED}/rules/"),
        *(_AUTHORIZED if token else ()),
    ):
        assert shipped in configuration
        configuration = configuration.replace(shipped, ours.replace("TOKEN", str(token)))
    if alertmanager:
        configuration += _ALERTING.format(address=alertmanager)
    file = directory / "prometheus.yml"
    file.write_text(configuration)
    command = ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={directory}/tsdb"]
    with _running([*command, f"--web.listen-address={address}"], f"http://{address}/-/ready"):
        yield Prometheus(address)


@contextmanager
def running_alertmanager(directory: Path, webhook: str) -> Iterator[str]:
    """Run an Alertmanager that sends every alert to a webhook at once; give its address."""
    address = f"127.0.0.1:{free_port()}"
    file = directory / "alertmanager.yml"
    file.write_text(_ALERTMANAGER.format(url=webhook))
    command = ["prometheus-alertmanager", f"--config.file={file}", f"--storage.path={directory}/alertmanager"]
    command += [f"--web.listen-address={address}", "--cluster.listen-address="]
    with _running(command, f"http://{address}/-/ready"):
        yield address


@contextmanager
def _running(command: list[str], ready: str) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: process.poll() is not None or _answers(ready), lambda: f"{command[0]} does not start")
        assert process.poll() is None, f"{' '.join(command)} ended"
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False
