"""docker-compose.yml: started as a whole, as in docs/deploy.md, and used as a new user would use it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT
from tests.support.containers import build_image, free_port, need_images
from tests.support.waiting import until

#: Grafana has no stand-in among packages, and is not started.
STARTED = ("service", "sample", "seaweedfs", "prometheus")
#: The file's ports may be taken on this machine; nothing else of it is replaced.
PORTS = """services:
  service: {{ports: !override ["127.0.0.1:{service}:8080"]}}
  seaweedfs: {{ports: !override ["127.0.0.1:{seaweedfs}:8333"]}}
  prometheus: {{ports: !override ["127.0.0.1:{prometheus}:9090"]}}
"""


class Example:
    """The services of docker-compose.yml, under a name of their own."""

    def __init__(self, directory: Path) -> None:
        self._ports = {name: free_port() for name in ("service", "seaweedfs", "prometheus")}
        override = directory / "override.yml"
        override.write_text(PORTS.format(**self._ports))
        compose = Path(sys.executable).with_name("docker-compose")
        files = [f"--file={ROOT / 'docker-compose.yml'}", f"--file={override}"]
        self._command = [str(compose), f"--project-name=als-serve-test-{os.getpid()}", *files]

    def run(self, *arguments: str) -> str:
        """Run ``docker compose`` to its end, which has to be a good one, and return what it said."""
        command = [*self._command, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def get(self, path: str, service: str = "service") -> Any:
        """Return the JSON of an answer, None where there is none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._ports[service]}{path}", timeout=30) as answer:
                return json.load(answer)
        except OSError:
            return None

    @property
    def served(self) -> str | None:
        """Return the version of the model that is served."""
        version: str | None = (self.get("/v1/model") or {}).get("model_version")
        return version

    def wait_until(self, happened: Callable[[], object], seconds: float = 60) -> None:
        """Return once something has happened; the failure has what all services said."""
        until(happened, lambda: self.run("logs", "--no-color"), seconds)

    def state(self, service: str) -> dict[str, Any]:
        """Return what Compose says of a service's container."""
        found: dict[str, Any] = json.loads(self.run("ps", "--all", "--format=json", service))
        return found


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    """Bring the example up from nothing, until it serves."""
    build_image()
    started = Example(tmp_path_factory.mktemp("compose"))
    configured = json.loads(started.run("config", "--format=json"))["services"]
    need_images(*(configured[name]["image"] for name in STARTED))
    try:
        started.run("up", "--detach", "--no-build", "--pull=never", *STARTED)
        started.wait_until(lambda: started.served, 120)
        yield started
    finally:
        started.run("down", "--volumes", "--timeout=0")


def test_the_sample_is_trained_published_and_served(example: Example) -> None:
    """Nobody did anything but start it, and it answers what a sample user should see."""
    assert example.state("sample")["ExitCode"] == 0
    answer = example.get("/v1/users/ana-0000/recommendations?n=6")
    genres = [item["item_id"].partition("-")[0] for item in answer["items"]]
    assert genres.count("horror") > len(genres) / 2


def test_the_documented_commands_work_inside(example: Example) -> None:
    """What is served is checked, and what is published is listed, with the service's own settings and credentials."""
    checked = example.run("exec", "-T", "service", "als-serve", "check")
    assert checked.endswith("✅ Model loading test completed successfully!\n")
    listed = example.run("exec", "-T", "service", "als-serve", "versions", "s3://models/als/")
    assert f" {example.served} " in listed


def test_prometheus_scrapes_it_and_has_its_rules(example: Example) -> None:
    """The configuration that is mounted finds the service by its name, and its rules can be evaluated."""

    def scraped() -> bool:
        targets = (example.get("/api/v1/targets", "prometheus") or {}).get("data", {}).get("activeTargets", [])
        return [target["health"] for target in targets] == ["up"]

    example.wait_until(scraped)
    groups = example.get("/api/v1/rules", "prometheus")["data"]["groups"]
    assert sorted(group["name"] for group in groups) == ["als-serve", "als-serve-recording"]


def test_another_publication_is_swapped_in(example: Example) -> None:
    """The job, run once more, trains and publishes another model, which the service takes without a restart."""
    before = example.served
    example.run("run", "--rm", "sample")
    example.wait_until(lambda: example.served not in (before, None))


def test_what_was_served_outlives_the_containers(example: Example) -> None:
    """The volumes stay: after the service has ended, well, a new container serves at once, be S3 there or not."""
    before = example.served
    example.run("stop", "service", "seaweedfs")
    assert example.state("service")["ExitCode"] == 0
    example.run("rm", "--force", "service")
    example.run("up", "--detach", "--no-build", "--pull=never", "--no-deps", "service")
    example.wait_until(lambda: example.served)
    assert example.served == before


def test_the_lines_for_tokens_are_what_compose_takes(tmp_path: Path) -> None:
    """Those that are commented out: the server gets its file, from a directory that is mounted read-only."""
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    changed = re.sub(r"# (?=ALS_TOKENS_FILE: |- \./access)", "", text)
    assert changed.count("\n") == text.count("\n")
    file = tmp_path / "docker-compose.yml"
    file.write_text(changed)
    compose = Path(sys.executable).with_name("docker-compose")
    command = [str(compose), f"--file={file}", "config", "--format=json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=180)
    service = json.loads(done.stdout)["services"]["service"]
    assert service["environment"]["ALS_TOKENS_FILE"] == "/access/tokens"
    (mounted,) = (volume for volume in service["volumes"] if volume["target"] == "/access")
    assert (mounted["source"], mounted["read_only"]) == (str(tmp_path / "access"), True)
