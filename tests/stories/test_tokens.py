"""The story of tokens on a real server: they are replaced under load, in one process and in several."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import pytest

from service.tokens import digest_of
from tests.support.helpers import model_bytes, put
from tests.support.load import open_loop
from tests.support.running import RunningServer, running_server
from tests.support.workers import samples, workers_of

pytestmark = pytest.mark.usefixtures("children_are_measured")

STEADY, EARLIER, LATER = "als_steady", "als_earlier", "als_later"
CHANGES = 12
BAD = [b"shop read als_pasted\n", b"shop read 12\r\n", b"\xff\xfe", b"steady write " + digest_of(STEADY).encode(), b""]


def lines(*tokens: str) -> bytes:
    """Return a file in which these tokens have the scope `read`, and requests without one `metrics`."""
    return "\r\n".join(["anonymous metrics", *(f"{token[4:]} read {digest_of(token)}" for token in tokens)]).encode()


class Guarded:
    """A running server with a file of tokens."""

    def __init__(self, server: RunningServer, tokens: Path) -> None:
        self.server = server
        self.tokens = tokens

    def statuses(self, token: str | None) -> set[int]:
        """Return how all workers answer: each of many open connections goes to the worker that has fewest."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with ExitStack() as stack:
            return {self._status(stack, headers) for _ in range(16)}

    def _status(self, stack: ExitStack, headers: dict[str, str]) -> int:
        connection = HTTPConnection(self.server.url.removeprefix("http://"), timeout=30)
        stack.callback(connection.close)
        connection.request("GET", "/v1/model", headers=headers)
        return connection.getresponse().status

    def wait_for(self, token: str, status: int) -> None:
        """Return once every worker answers a token like this."""
        self.server.wait_until(lambda: self.statuses(token) == {status})

    def reject(self, content: bytes) -> None:
        """Put a bad file there, and return once its rejection was counted."""
        before = self._rejections()
        put(self.tokens, content)
        self.server.wait_until(lambda: self._rejections() > before)

    def _rejections(self) -> float:
        return samples(self.server.url)["als_token_reloads_total[('outcome', 'rejected')]"]


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two workers"])
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Run a server that the tests share, with its file as they left it."""
    directory = tmp_path_factory.mktemp("guarded")
    model, tokens = directory / "model.npz", directory / "tokens"
    put(model, model_bytes())
    put(tokens, lines(STEADY, EARLIER))
    settings = {"workers": request.param, "tokens_file": tokens, "management_port": 0, "access_log": 1}
    with running_server(model, directory / "state", **settings) as server:
        server.wait_until_ready()
        yield Guarded(server, tokens)


async def test_tokens_are_replaced_under_load(guarded: Guarded) -> None:
    """While good and bad files come and go, no request with a token that stays in them fails."""
    stop = asyncio.Event()
    headers = {"Authorization": f"Bearer {STEADY}"}
    load = asyncio.create_task(open_loop(guarded.server.url, lambda _: "/v1/items/popular", 100, stop, headers))
    for changes in range(CHANGES):
        await asyncio.to_thread(guarded.reject, BAD[changes % len(BAD)])
        token, other = (LATER, EARLIER) if changes % 2 else (EARLIER, LATER)
        put(guarded.tokens, lines(STEADY, token))
        await asyncio.to_thread(guarded.wait_for, token, 200)
        await asyncio.to_thread(guarded.wait_for, other, 401)
    stop.set()
    answers = await load
    assert len(answers) > CHANGES
    assert {answer.status for answer in answers} == {200}


def test_a_bad_file_is_said_once(guarded: Guarded) -> None:
    """In one sentence of the process that reads the file, however many workers there are."""
    before = len(said_by(guarded))
    guarded.reject(b"steady read oh\n")
    put(guarded.tokens, lines(STEADY, LATER, "als_last"))
    guarded.wait_for("als_last", 200)
    assert said_by(guarded)[before:] == [
        f"⚠️ Keeping the current tokens: {guarded.tokens}, line 1: the last word must be the token's sha256, 64 "
        "hexadecimal digits."
    ]


def said_by(guarded: Guarded) -> list[str]:
    """Return what was said of bad files."""
    return [event["message"] for event in guarded.server.events if event["event"] == "tokens_rejected"]


def test_the_management_port_asks_for_tokens_too(guarded: Guarded) -> None:
    """Probes are open there as on the main port, and metrics need their scope."""
    management = f"http://127.0.0.1:{guarded.server.wait_for('managing')['port']}"
    assert [status_of(management + path) for path in ("/healthz", "/readyz", "/metrics")] == [200, 200, 200]
    put(guarded.tokens, lines(STEADY).replace(b"anonymous metrics", b"anonymous read"))
    guarded.server.wait_until(lambda: status_of(management + "/metrics") == 401)
    guarded.server.wait_until(lambda: status_of(guarded.server.url + "/metrics") == 401)
    for url in (management, guarded.server.url):
        assert [status_of(url + path) for path in ("/healthz", "/readyz")] == [200, 200]
        assert status_of(url + "/metrics", STEADY) == 403
    put(guarded.tokens, lines(STEADY, EARLIER))
    guarded.server.wait_until(lambda: status_of(management + "/metrics") == 200)


def status_of(url: str, token: str | None = None) -> int:
    """Return the status of one request."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_new_worker_has_the_latest_tokens(guarded: Guarded) -> None:
    """One that takes the place of another answers nobody before it knows them."""
    put(guarded.tokens, lines(STEADY, LATER))
    guarded.wait_for(LATER, 200)
    for worker in workers_of(guarded.server.process.pid):
        worker.kill()
        worker.wait()
        assert guarded.statuses(LATER) == {200}
        assert guarded.statuses(EARLIER) == {401}


def test_no_token_is_ever_logged(guarded: Guarded) -> None:
    """Neither the known ones nor strangers', nor one pasted into the file; the access log has names."""
    guarded.statuses(STEADY)
    guarded.statuses("als_stranger")
    guarded.server.wait_until(lambda: {"steady", "unknown"} <= names_of(guarded))
    assert "als_" not in json.dumps(guarded.server.events)


def names_of(guarded: Guarded) -> set[str]:
    """Return the names in the access log."""
    return {event["token"] for event in list(guarded.server.events) if event["event"] == "request"}
