"""The deployment files: each is checked by its own tool and against the code."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from service.api.problems import HTTP_STATUS
from service.errors import AlsServeError, RequestError
from service.settings import Settings, variable
from tests.support import ROOT
from tests.support.helpers import need
from tests.support.rendering import TEMPLATE, render

OPS = ROOT / "ops"
RUNBOOK = (OPS / "runbook.md").read_text(encoding="utf-8")
UNIT = OPS / "systemd" / "als-serve.service"
SCRIPTS = [*(ROOT / ".ci").iterdir(), *OPS.rglob("*.sh"), OPS / "install" / "bin" / "als-serve"]
SCRIPTS.remove(TEMPLATE)
DEPLOYED = [ROOT / "Dockerfile", ROOT / "docker-compose.yml", OPS / "runbook.md", TEMPLATE, UNIT]
DEPLOYED += sorted([*OPS.glob("terraform/**/*.*"), *OPS.glob("kubernetes/**/*.*")])

VALUES = {
    "image": "registry.example/als-serve:1",
    "s3_uri": "s3://shop-models/models/",
    "environment": "AWS_REGION=eu-central-1",
    "unit": UNIT.read_text(encoding="utf-8"),
}


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


def test_the_first_boot_is_clean_as_it_arrives(tmp_path: Path) -> None:
    """Shellcheck finds nothing in the template once its values are in it."""
    script = tmp_path / "init.sh"
    script.write_text(render(VALUES))
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


def headings() -> set[str]:
    """Return the runbook's headings as a link names them."""
    found = re.findall(r"^#+ (.*)$", RUNBOOK, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in found}


def test_every_link_within_the_runbook_leads_somewhere() -> None:
    """Every link in the runbook leads to an existing heading."""
    links = set(re.findall(r"\]\(#([^)]+)\)", RUNBOOK))
    assert len(links) > 10
    assert links <= headings()


def test_every_alert_has_its_heading() -> None:
    """What an alert links to is the heading of its name."""
    rules = [path.read_text(encoding="utf-8") for path in OPS.glob("prometheus/rules/*.yml")]
    alerts = {alert.lower() for text in rules for alert in re.findall(r"alert: (\w+)", text)}
    assert alerts <= headings()


def every(kind: type[AlsServeError]) -> Iterator[type[AlsServeError]]:
    """Yield an error and all that are of its kind."""
    yield kind
    for narrower in kind.__subclasses__():
        yield from every(narrower)


def test_every_error_that_an_operator_meets_is_explained() -> None:
    """Each code of errors.py has one row, except client errors, and every row has a code."""
    rows = re.findall(r"^\| `(\w+)` \|", RUNBOOK, re.MULTILINE)
    met = [
        error.code
        for error in every(AlsServeError)
        if "code" in vars(error) and (not issubclass(error, RequestError) or HTTP_STATUS.get(error) == 503)
    ]
    assert len(met) > 30
    assert sorted(rows) == sorted(met)


# ---------------------------------------------------------------- EC2


def test_systemd_reads_the_unit_and_finds_it_safe(tmp_path: Path) -> None:
    """Systemd knows every directive of the unit, and rates its exposure as "SAFE"."""
    need(shutil.which("systemd-analyze"), "systemd-analyze is missing: apt-get install --no-install-recommends systemd")
    unit = tmp_path / "etc/systemd/system/als-serve.service"
    for path in (unit, tmp_path / "usr/bin/docker", tmp_path / "bin/sh"):
        path.parent.mkdir(parents=True)
        path.touch(0o755)
    shutil.copy(UNIT, unit)
    verified = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", f"--root={tmp_path}", unit.name)
    assert (verified.returncode, verified.stderr) == (0, "")
    rated = run("systemd-analyze", "security", "--offline=true", UNIT)
    assert re.search(r"Overall exposure level for als-serve.service: \d\.\d (SAFE|OK)", rated.stdout), rated.stdout


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the Terraform module, with its provider."""
    if not shutil.which("terraform"):
        pytest.skip("Terraform comes from no package registry: https://developer.hashicorp.com/terraform/install")
    copy = tmp_path_factory.mktemp("module") / "ops"
    shutil.copytree(OPS, copy)
    # Where a machine reaches no registry, it may have a directory of providers, in Terraform's own layout.
    mirrors = [f"-plugin-dir={path.parent}" for path in Path("/opt").glob("*/registry.terraform.io")]
    done = run("terraform", "init", "-backend=false", "-input=false", *mirrors[:1], cwd=copy / "terraform")
    if done.returncode != 0:
        pytest.skip(f"terraform init finds no provider: {done.stderr.strip()}")
    return copy / "terraform"


def test_the_terraform_module_is_formatted_and_valid(module: Path) -> None:
    """Terraform finds nothing to change in its form, and accepts every resource, type and reference."""
    formatted = run("terraform", "fmt", "-check", "-recursive", "-diff", cwd=module)
    assert formatted.returncode == 0, formatted.stdout
    valid = run("terraform", "validate", "-no-color", cwd=module)
    assert valid.returncode == 0, valid.stdout + valid.stderr


def test_the_terraform_module_holds_its_promises(module: Path) -> None:
    """Its own tests pass: access, the role's permissions, and the validation of variables."""
    done = run("terraform", "test", "-no-color", cwd=module)
    assert done.returncode == 0, done.stdout + done.stderr


def test_models_that_stay_can_be_read(module: Path) -> None:
    """The key outlives the bucket: a destroy that stops at a bucket with models in it does not make them unreadable."""
    done = run("terraform", "graph", cwd=module)
    assert '"aws_s3_bucket.models" -> "aws_kms_key.models"' in done.stdout, done.stdout + done.stderr


def test_the_template_is_rendered_as_by_terraform(tmp_path: Path) -> None:
    """What the other tests run is, byte for byte, what Terraform makes of the template."""
    if not shutil.which("terraform"):
        pytest.skip("Terraform comes from no package registry: https://developer.hashicorp.com/terraform/install")
    asked = f'base64encode(templatefile("{TEMPLATE}", jsondecode(file("values.json"))))'
    (tmp_path / "values.json").write_text(json.dumps(VALUES))
    done = subprocess.run(
        ["terraform", "console"], cwd=tmp_path, input=asked, capture_output=True, text=True, check=True
    )
    assert base64.b64decode(done.stdout.strip().strip('"')).decode() == render(VALUES)
