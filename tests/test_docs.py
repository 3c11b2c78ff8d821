"""The documents say what is true: their tables, names and links are held against the code."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from service.api.problems import HTTP_STATUS
from service.api.routes import ROUTES
from service.environment import OF_ADMIN
from service.live.report import State
from service.observe.logs import EVENTS
from service.observe.metrics import Metrics, table
from service.settings import Settings, variable
from service.tokens import SCOPES
from tests.support import ROOT
from tests.support.documents import DOCUMENTS, name_of, page, rows_below, sections


def default_of(value: object) -> str:
    """Return a default as the table of settings has it."""
    return "" if value is None else f"`{value}`"


def settings_table() -> str:
    """Return the table of settings as it has to be."""
    rows = [
        f"| `{variable(setting.name)}` | {default_of(setting.default)} | {setting.metadata['help']}"
        + (f" Allowed: {setting.metadata['allowed']}." if setting.metadata["allowed"] else "")
        + " |"
        for setting in fields(Settings)
    ]
    return "\n".join(["| variable | default | what it does |", "|---|---|---|", *rows])


def test_every_setting_is_documented_as_it_is() -> None:
    """The table in docs/settings.md is the table of settings.py, word for word."""
    assert settings_table() in page("docs/settings.md")


def test_every_route_is_documented() -> None:
    """docs/api.md has each route, and none that does not exist."""
    documented = set(re.findall(r"`(GET|POST|PUT|DELETE) (/[^`?]*)", page("docs/api.md")))
    assert documented == {(route.method, route.path) for route in ROUTES}


def test_every_parameter_is_documented_with_its_default() -> None:
    """The table in docs/api.md has each optional parameter, and no other."""
    options = [field for route in ROUTES for field in msgspec.structs.fields(route.query)]
    defaults = {f"`{field.name}`": field.default for field in options if not field.required}
    shown = {"True": "`true`", "False": "`false`", "()": "", "UNSET": "", "popular": "`ALS_FALLBACK`"}
    rows = rows_below("docs/api.md", "| parameter | allowed | default | meaning |")
    assert {name: default for name, _, default, _ in rows} == {
        name: shown.get(str(default), str(default)) for name, default in defaults.items()
    }


def test_every_error_of_a_request_is_documented_with_its_status() -> None:
    """The table in docs/api.md has each code that a client can get; those of 503 are explained in the runbook."""
    table = rows_below("docs/api.md", "| status | code | meaning |")
    rows = {(int(status), code.strip("`")) for status, code, _ in table}
    raised = {(status, error.code) for error, status in HTTP_STATUS.items()}
    by_http = {(404, "no_such_path"), (405, "method_not_allowed"), (500, "internal_error")}
    by_http |= {(400, "bad_request"), (431, "request_header_fields_too_large")}
    unavailable = {(status, code) for status, code in raised if status == 503}
    assert rows == raised - unavailable | by_http
    assert [code for _, code in unavailable if f"`{code}`" not in page("docs/api.md")] == []


def test_every_state_of_a_server_is_documented() -> None:
    """docs/operate.md explains what ``state`` in /v1/model can be."""
    states = [state for state, _ in rows_below("docs/operate.md", "| `state` | meaning |")]
    assert sorted(states) == sorted(f"`{state}`" for state in get_args(State))


def test_the_log_line_shown_is_one_that_is_logged() -> None:
    """The JSON line in docs/operate.md has the keys, the level and the sentence of its event."""
    line = json.loads(page("docs/operate.md").partition("```json\n")[2].partition("\n```")[0])
    line.pop("time")
    shown, level, event = line.pop("message"), line.pop("level"), line.pop("event")
    assert EVENTS[event][1].format(**line) == shown
    assert level == "info"


def test_the_lines_of_a_fallback_training_are_those_that_are_logged() -> None:
    """Each line shown in docs/training.md is the sentence of an event."""
    logged = [re.sub(r"\\\{.*?\\\}", ".+", re.escape(sentence)) for _, sentence in EVENTS.values()]
    shown = sections(ROOT / "docs/training.md")["when-there-is-no-model"].split("```")[1].strip().splitlines()
    assert len(shown) > 1
    assert [line for line in shown if not any(re.fullmatch(pattern, line) for pattern in logged)] == []


def test_the_permissions_in_s3_are_those_that_terraform_grants() -> None:
    """docs/s3.md names each action that a server or a publisher needs, and no other."""
    granted = set(re.findall(r'"(s3:\w+)"', (ROOT / "ops/terraform/iam.tf").read_text(encoding="utf-8")))
    assert set(re.findall(r"`(s3:[A-Z]\w+)`", page("docs/s3.md"))) == granted


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_link_into_the_repository_leads_somewhere(document: Path) -> None:
    """A relative link names a file that is there, and a heading that is in it."""
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not leads_somewhere(document, link)] == []


def leads_somewhere(document: Path, link: str) -> bool:
    """Say whether a link's file exists, and has the heading that the link names."""
    path, _, anchor = link.partition("#")
    target = (document.parent / path).resolve() if path else document
    return target.exists() and (not anchor or anchor in sections(target))


def test_every_page_can_be_reached_from_the_readme() -> None:
    """README.md links to each page in docs/."""
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)", page("README.md")))
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} <= linked


def test_no_table_is_in_two_places() -> None:
    """What a row says is said once, so that it cannot be true in one document and outdated in another."""
    texts = [document.read_text(encoding="utf-8") for document in DOCUMENTS]
    rows = Counter(row for text in texts for row in set(re.findall(r"^\| .+ \|$", text, re.MULTILINE)))
    assert [row for row, count in rows.items() if count > 1] == []


def test_every_variable_that_a_document_names_exists() -> None:
    """No document names a setting that does not exist; the changelog alone also names those of earlier versions."""
    known = {variable(setting.name) for setting in fields(Settings)} | {*OF_ADMIN}
    current = [document for document in DOCUMENTS if document.name != "CHANGELOG.md"]
    named = {name for document in current for name in re.findall(r"\bALS_[A-Z_]+[A-Z]\b", document.read_text("utf-8"))}
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


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_metric_that_a_document_names_exists(document: Path) -> None:
    """No document names a metric that does not exist."""
    families = {row.name for row in table().values()}
    exposed = families | {f"{family}_{part}" for family in families for part in ("bucket", "count", "sum")}
    pattern = r"\bals_(?:model|http|event|watcher|trainings|results?|s3)_[a-z0-9_]+\b(?!\.)"
    named = set(re.findall(pattern, document.read_text(encoding="utf-8")))
    assert named <= exposed


def test_every_scope_is_documented_with_its_routes() -> None:
    """The table in docs/api.md has each scope with the routes that need it."""
    rows = rows_below("docs/api.md", "| scope | requests |")
    documented = {scope.strip("`"): set(re.findall(r"`(GET|POST|PUT|DELETE) (\S+)`", routes)) for scope, routes in rows}
    assert documented == {
        scope: {(route.method, route.path) for route in ROUTES if route.scope == scope} for scope in SCOPES
    }


def test_every_test_that_security_names_is_there() -> None:
    """Each promise is held by a file of tests."""
    named = [
        path for row in rows_below("SECURITY.md", "| promise | tested by |") for path in re.findall("`(.+?)`", row[1])
    ]
    assert named
    assert [path for path in named if not (ROOT / path).is_file()] == []
