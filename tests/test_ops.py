"""What is deployed: each file is read by the tool that it is for, and held against the code that it speaks of."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from service.settings import Settings, variable

ROOT = Path(__file__).parent.parent
OPS = ROOT / "ops"
SCRIPTS = [*(ROOT / ".ci").iterdir(), *OPS.rglob("*.sh")]
DEPLOYED = [ROOT / "Dockerfile", ROOT / "docker-compose.yml"]


def run(*command: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end."""
    return subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False)


def tool(name: str) -> Path:
    """Return a program that is installed beside Python."""
    return Path(sys.executable).with_name(name)


def test_the_dockerfile_is_clean() -> None:
    """Hadolint, which also runs shellcheck on what is run, finds nothing."""
    done = run(tool("hadolint"), "Dockerfile")
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_is_clean(script: Path) -> None:
    """Shellcheck finds nothing."""
    done = run(tool("shellcheck"), script)
    assert done.returncode == 0, done.stdout


# ---------------------------------------------------------------- docker-compose.yml


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """Return the services as Compose understands them."""
    done = run(tool("docker-compose"), "--file", "docker-compose.yml", "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = json.loads(done.stdout)["services"]
    return services


def test_compose_publishes_to_this_machine_only(compose: dict[str, Any]) -> None:
    """No port of the example is open to the network, for its credentials are known to everybody."""
    ports = [port for service in compose.values() for port in service.get("ports", [])]
    assert len(ports) == 4
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_compose_confines_every_service(compose: dict[str, Any]) -> None:
    """A read-only root, no capability but those that are named, no way to new privileges."""
    for name, service in compose.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def test_compose_pins_what_it_pulls(compose: dict[str, Any]) -> None:
    """What is not built here has a version, so that the example is the same tomorrow."""
    pulled = [service["image"] for service in compose.values() if "build" not in service]
    assert len(pulled) == 3
    assert [image for image in pulled if not re.search(r":v?\d+\.\d+(\.\d+)?$", image)] == []


def test_compose_mounts_what_is_there(compose: dict[str, Any]) -> None:
    """Docker makes an empty directory of a path that it does not find, so every path is there."""
    mounts = [mount for service in compose.values() for mount in service.get("volumes", []) if mount["type"] == "bind"]
    assert mounts
    assert [mount["source"] for mount in mounts if not Path(mount["source"]).exists()] == []


def test_compose_has_credentials_that_its_s3_knows(compose: dict[str, Any]) -> None:
    """The service can read models and no more; the job that trains can write them."""
    identities = json.loads((OPS / "compose" / "s3.json").read_text())["identities"]
    allowed = {tuple(entry["credentials"][0].values()): set(entry["actions"]) for entry in identities}
    given = {
        name: allowed[environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]]
        for name, environment in ((name, compose[name]["environment"]) for name in ("service", "sample"))
    }
    assert given["service"] == {"Read:models", "List:models"}
    assert "Write:models" in given["sample"]


# ---------------------------------------------------------------- what is named is there


@pytest.mark.parametrize("path", DEPLOYED, ids=lambda path: path.name)
def test_every_variable_that_is_set_or_named_is_a_setting(path: Path) -> None:
    """A server refuses to start with a variable that it does not know, so none is given to it."""
    known = {variable(setting.name) for setting in fields(Settings)}
    assert set(re.findall(r"\bALS_[A-Z0-9_]*[A-Z0-9]\b", path.read_text(encoding="utf-8"))) <= known
