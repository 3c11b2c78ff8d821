"""The documentation is checked against the code: settings, routes, metrics and links."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from service.api.routes import ROUTES
from service.cli.demo import train_on_sample
from service.observe.metrics import Metrics, table
from service.settings import Settings, variable
from tests.support import ROOT
from tests.support.running import running_server

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
DOCUMENTS += [ROOT / "SECURITY.md", ROOT / "ops/runbook.md", ROOT / "ops/terraform/README.md"]


def default_of(value: object) -> str:
    """Return a default as the README has it."""
    return "" if value is None else f"`{value}`"


def settings_table() -> str:
    """Return the README's table of settings as it has to be."""
    rows = [
        f"| `{variable(setting.name)}` | {default_of(setting.default)} | {setting.metadata['help']}"
        + (f" Allowed: {setting.metadata['allowed']}." if setting.metadata["allowed"] else "")
        + " |"
        for setting in fields(Settings)
    ]
    return "\n".join(["| variable | default | what it does |", "|---|---|---|", *rows])


def test_every_setting_is_documented_as_it_is() -> None:
    """The README's table is the table of settings.py, word for word."""
    assert settings_table() in README


def test_every_route_is_documented() -> None:
    """The README lists every route, and nothing else."""
    documented = set(re.findall(r"`(GET|POST) (/[^`?]*)", README))
    assert documented == {(route.method, route.path) for route in ROUTES}


def test_every_parameter_is_documented_with_its_default() -> None:
    """The README's table has each that may be left out, and no other."""
    table = README.partition("| parameter | allowed | default | |\n")[2].partition("\n\n")[0]
    _, *rows = [[cell.strip() for cell in row.split("|")] for row in table.splitlines()]
    options = [field for route in ROUTES if not route.has_body for field in msgspec.structs.fields(route.options)]
    defaults = {f"`{field.name}`": field.default for field in options if not field.required}
    shown = {"True": "`true`", "False": "`false`", "()": "", "popular": "`ALS_FALLBACK`"}
    assert {row[1]: row[3] for row in rows} == {
        name: shown.get(str(default), str(default)) for name, default in defaults.items()
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_into_the_repository_leads_somewhere(document: Path) -> None:
    """A relative link names a file that is there."""
    links = re.findall(r"\]\(([^)#\s]+)\)", document.read_text(encoding="utf-8"))
    broken = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert broken == []


def test_every_variable_that_a_document_names_exists() -> None:
    """No document mentions an unknown setting."""
    known = {variable(setting.name) for setting in fields(Settings)}
    named = {
        name for document in DOCUMENTS for name in re.findall(r"\bALS_[A-Z_]+[A-Z]\b", document.read_text("utf-8"))
    }
    assert named <= known


def test_every_metric_has_a_help_text_and_the_conventional_form() -> None:
    """Names start with als_, are snake_case, counters end in _total, times are in seconds and sizes in bytes."""
    registry = CollectorRegistry()
    Metrics(registry)
    ours = [family for family in registry.collect() if family.name.startswith("als_")]
    assert len(ours) > 15
    for family in ours:
        assert family.documentation.endswith("."), family.name
        assert re.fullmatch(r"[a-z]+(_[a-z][a-z0-9]*)+", family.name)
        assert not re.search(r"milli|micro|_ms$|_mb$|kilo|mega", family.name)


@pytest.fixture(scope="module")
def demo_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the demonstration's own model."""
    directory = tmp_path_factory.mktemp("demo")
    with running_server(train_on_sample(directory)[0], directory / "state") as server:
        server.wait_until_ready()
        yield server.url


TOUR = re.findall(r"^\$ (curl .*)\n(.*)$", README, re.MULTILINE)


@pytest.mark.parametrize(("command", "shown"), TOUR, ids=[command[:60] for command, _ in TOUR])
def test_the_tour_shows_what_the_demo_answers(demo_url: str, command: str, shown: str) -> None:
    """Each curl line of the README, sent to the demo's model, is answered in the shape that stands below it."""
    command = command.replace("http://127.0.0.1:8080", demo_url)
    answer = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True).stdout
    assert shape(json.loads(answer)) == shape(json.loads(shown))


def shape(value: object) -> object:
    """Return the keys and types of an answer: its numbers depend on the machine that trained."""
    if isinstance(value, dict):
        return {key: shape(member) for key, member in value.items()}
    return [shape(member) for member in value] if isinstance(value, list) else type(value).__name__


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_metric_that_a_document_names_exists(document: Path) -> None:
    """No document mentions an unknown metric."""
    families = {row.name for row in table().values()}
    exposed = families | {f"{family}_{part}" for family in families for part in ("bucket", "count", "sum")}
    pattern = r"\bals_(?:model|http|event|watcher|trainings|results?|s3)_[a-z0-9_]+\b(?!\.)"
    named = set(re.findall(pattern, document.read_text(encoding="utf-8")))
    assert named <= exposed


def test_make_is_all_that_a_newcomer_needs() -> None:
    """The two commands of the README are targets of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\$ make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
