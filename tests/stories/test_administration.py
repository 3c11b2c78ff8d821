"""The story of an administrator: versions are pinned, left and accepted on a running server, through any process."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from service.tokens import digest_of
from tests.support.helpers import model_bytes, put
from tests.support.running import RunningServer, ask, running_server

pytestmark = pytest.mark.usefixtures("children_are_measured")

TOKEN, READER = "als_administrator", "als_reader"
FILES = [model_bytes(seed) for seed in range(3)]
UNKNOWN = "0123456789abcdef"


class Administered:
    """A running server with tokens, and the model path that it follows."""

    def __init__(self, model: Path, server: RunningServer, url: str) -> None:
        self.model = model
        self.server = server
        self.url = url

    def ask(self, method: str, what: str, body: object = None, token: str | None = TOKEN) -> tuple[int, Any]:
        """Send an administrator's request."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/v1/admin/{what}", data, headers, method=method)
        return ask(request)

    def facts(self, version: str) -> dict[str, Any]:
        """Return what is said of a version."""
        status, body = self.ask("GET", "versions")
        assert status == 200
        (found,) = (each for each in body["versions"] if each["model_version"] == version)
        return dict(found)

    def put(self, content: bytes) -> str:
        """Put a model at the path, and return its version once it is served."""
        version = put(self.model, content)
        self.wait_until_serving(version)
        return version

    def wait_until_serving(self, version: str) -> None:
        """Return once answers come from this version."""
        self.server.wait_until(lambda: self.server.get("/v1/items/popular")[1].get("model_version") == version)

    def wait_for_reload(self, outcome: str, reason: str = "") -> None:
        """Return once the last reload ended so."""

        def ended() -> bool:
            last = self.server.get("/v1/model")[1]["last_reload"]
            return bool(last) and (last["outcome"], last["reason"]) == (outcome, reason)

        self.server.wait_until(ended)


def administrators(directory: Path) -> Path:
    """Write a file of tokens: everybody may read, and one administers."""
    tokens = directory / "tokens"
    lines = ["anonymous read,metrics", f"chief admin {digest_of(TOKEN)}", f"reader read {digest_of(READER)}"]
    tokens.write_text("\n".join(lines))
    return tokens


@contextmanager
def administered(directory: Path, **settings: Any) -> Iterator[Administered]:
    """Run a server that everybody may read, and one token administers."""
    model = directory / "model.npz"
    with running_server(model, directory / "state", tokens_file=administrators(directory), **settings) as server:
        url = server.url
        if "management_port" in settings:
            url = f"http://127.0.0.1:{server.wait_for('managing')['port']}"
        yield Administered(model, server, url)


PLACES = [{"workers": 1}, {"workers": 2}, {"workers": 2, "management_port": 0}]
NAMES = ["one process", "two workers", "the keeper's port"]


@pytest.mark.parametrize("settings", PLACES, ids=NAMES)
def test_a_pinned_version_stays(tmp_path: Path, settings: dict[str, int]) -> None:
    """It is served again at once, new files and restarts do not replace it, and unpinning takes the newest file."""
    with administered(tmp_path, **settings) as site:
        first, second = site.put(FILES[0]), site.put(FILES[1])
        assert site.facts(first)["was_served"]
        for _ in range(2):
            status, body = site.ask("PUT", "pin", {"model_version": first})
            assert (status, body["served"], body["pinned"]) == (200, first, first)
            site.wait_until_serving(first)
        third = put(site.model, FILES[2])
        site.wait_for_reload("rejected", "pinned")
        assert site.server.get("/v1/model")[1]["state"] == "stale"
        assert site.ask("POST", "rollback", {"model_version": second})[1]["code"] == "pinned"
        assert site.ask("POST", "reload")[0] == 200
        site.wait_until_serving(first)
    with administered(tmp_path, **settings) as site:
        site.wait_for_reload("rejected", "pinned")
        site.wait_until_serving(first)
        assert site.facts(first)["pinned"]
        for _ in range(2):
            assert site.ask("DELETE", "pin")[1]["pinned"] is None
            site.wait_until_serving(third)
        asked = [event for event in site.server.events if event["event"] == "administered"]
        assert {event["token"] for event in asked} == {"chief"}
        assert "unpin" in {event["command"] for event in asked}


@pytest.mark.parametrize("settings", PLACES[:2], ids=NAMES[:2])
def test_rolling_back(tmp_path: Path, settings: dict[str, int]) -> None:
    """The version before is served, twice is as good as once, and the one that was left returns once accepted."""
    with administered(tmp_path, **settings) as site:
        first, second = site.put(FILES[0]), site.put(FILES[1])
        for _ in range(2):
            status, body = site.ask("POST", "rollback", {})
            assert (status, body["served"]) == (200, first)
            site.wait_until_serving(first)
        assert site.facts(second)["quarantined"]
        assert site.ask("PUT", "pin", {"model_version": second})[1]["code"] == "quarantined"
        assert site.ask("POST", "reload")[0] == 200
        site.server.wait_until(lambda: rejections(site) == 2)
    with administered(tmp_path, **settings) as site:
        site.wait_for_reload("rejected", "quarantined")
        site.wait_until_serving(first)
        third = site.put(FILES[2])
        assert site.ask("POST", "rollback", {"model_version": first})[1]["served"] == first
        put(site.model, FILES[1])
        site.wait_until_serving(first)
        assert site.ask("POST", "accept", {"model_version": second})[0] == 200
        site.wait_until_serving(second)
        assert site.facts(third)["quarantined"]


def rejections(site: Administered) -> int:
    """Return how many of the last reloads were refused because the version is quarantined."""
    reloads = site.server.get("/v1/model")[1]["reloads"]
    return len([reload for reload in reloads if reload["reason"] == "quarantined"])


def test_what_cannot_be_done(tmp_path: Path) -> None:
    """One sentence says why, and nothing changes."""
    with administered(tmp_path) as site:
        first = site.put(FILES[0])
        for method, what, body, status, code in (
            ("PUT", "pin", {"model_version": UNKNOWN}, 404, "unknown_version"),
            ("POST", "rollback", {"model_version": UNKNOWN}, 404, "unknown_version"),
            ("POST", "rollback", {}, 404, "unknown_version"),
            ("PUT", "pin", {"model_version": "../../etc"}, 422, "invalid_body"),
            ("GET", "pin", None, 405, "method_not_allowed"),
        ):
            answered, problem = site.ask(method, what, body)
            assert (answered, problem["code"]) == (status, code)
        assert site.ask("GET", "versions", token=READER)[0] == 403
        assert site.ask("GET", "versions", token=None)[0] == 401
        assert site.ask("GET", "versions")[1]["served"] == first


def test_where_there_is_no_administration(tmp_path: Path) -> None:
    """Without tokens, and at the main port if there is one for management, the path does not exist."""
    model = tmp_path / "model.npz"
    put(model, FILES[0])
    with running_server(model, tmp_path / "open", management_port=0) as server:
        management = f"http://127.0.0.1:{server.wait_for('managing')['port']}"
        for url in (server.url, management):
            assert Administered(model, server, url).ask("GET", "versions")[1]["code"] == "no_such_path"
    with administered(tmp_path, management_port=0) as site:
        assert site.ask("GET", "versions")[0] == 200
        assert Administered(model, site.server, site.server.url).ask("GET", "versions")[1]["code"] == "no_such_path"
