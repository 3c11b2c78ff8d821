"""The command admin: what it asks a running server, what it prints, and what it says when that fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.cli.main import main
from service.tokens import digest_of
from tests.support.helpers import model_bytes, put
from tests.support.running import RunningServer, running_server

TOKEN = "als_administrator"


def admin(*words: str, url: str, token: str = TOKEN) -> Result:
    """Run a command against a server."""
    return CliRunner().invoke(main, ["admin", *words, "--url", url], env={"ALS_TOKEN": token})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Run a server that has served two versions."""
    directory = tmp_path_factory.mktemp("administered")
    tokens, model = directory / "tokens", directory / "model.npz"
    tokens.write_text(f"anonymous read\nchief admin {digest_of(TOKEN)}\nreader read {digest_of('als_reader')}\n")
    with running_server(model, directory / "state", tokens_file=tokens) as running:
        for seed in range(2):
            running.wait_until_serving(put(model, model_bytes(seed)))
        yield running


def rows(result: Result) -> dict[str, list[str]]:
    """Return what the table says of each version: a mark, and remarks."""
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines() if "+00:00" in line]
    found = {}
    for line in lines:
        mark = ["served"] if line[0] == "▶" else []
        version, _, _, *remarks = line[len(mark) :]
        found[version] = [*mark, *remarks]
    return found


def test_each_command(server: RunningServer) -> None:
    """It does what the API does, and prints the versions afterwards."""
    newest, first = rows(admin("versions", url=server.url))
    assert rows(admin("pin", first, url=server.url)) == {first: ["served", "pinned"], newest: []}
    assert f"Served: {first}, pinned: {first}" in admin("reload", url=server.url).stdout
    assert rows(admin("unpin", url=server.url)).keys() == {first, newest}
    server.wait_until_serving(newest)
    assert rows(admin("rollback", url=server.url)) == {first: ["served"], newest: ["quarantined"]}
    assert rows(admin("accept", newest, url=server.url))[newest][-1:] == ["accepted"]
    server.wait_until_serving(newest)
    assert rows(admin("rollback", first, url=server.url))[first] == ["served"]


def test_the_first_digits_are_enough(server: RunningServer) -> None:
    """Of a version that is kept, if they are those of only one."""
    first, second = (row for row in rows(admin("versions", url=server.url)))
    digits = next(first[:length] for length in range(1, 16) if not second.startswith(first[:length]))
    assert rows(admin("pin", digits, url=server.url))[first] == ["served", "pinned"]
    admin("unpin", url=server.url)
    for beginning in ("", "x"):
        result = admin("pin", beginning, url=server.url)
        assert result.exit_code == 1
        assert f"No kept version begins with {beginning!r}; " in result.output


def test_a_percentage_without_a_candidate(server: RunningServer) -> None:
    """It is said that there is none, and who will get one."""
    said = admin("candidate", "10", url=server.url).stdout
    assert "There is no candidate; 10% of users get one once there is" in said
    assert "There is no candidate; 0% of users" in admin("candidate", url=server.url).stdout
    result = admin("candidate", "nan", url=server.url)
    assert result.exit_code == 2
    assert "nan is not a percentage." in result.output


def test_a_server_without_tokens_has_no_administration(tmp_path: Path) -> None:
    """The sentence says how to get one."""
    put(tmp_path / "model.npz", model_bytes())
    with running_server(tmp_path / "model.npz", tmp_path / "state") as running:
        result = admin("versions", url=running.url)
    assert result.exit_code == 1
    assert "it has no administration there. Start it with --tokens-file" in result.output


@contextmanager
def stranger() -> Iterator[str]:
    """Run a server of another kind, for one request."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer with a page."""
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as other:
        other.timeout = 30  # if the test fails before it asks
        answering = threading.Thread(target=other.handle_request)
        answering.start()
        yield f"http://127.0.0.1:{other.server_port}"
        answering.join()


def test_what_goes_wrong(server: RunningServer, tmp_path: Path) -> None:
    """One sentence says what, and the exit code is 1."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "tokens").write_text(f"{TOKEN}\nanonymous read\n")
    with stranger() as other:
        cases = {
            (("versions",), server.url, "als_reader"): "answered with 403: The token reader lacks the scope admin",
            (("pin", "0" * 16), server.url, TOKEN): "answered with 404: No model 0000000000000000 that was served",
            (("versions",), server.url, ""): "There is no token; set ALS_TOKEN",
            (("versions",), "ftp://127.0.0.1", TOKEN): "does not answer (it is not an address such as",
            (("versions",), "https://127.0.0.1:1", TOKEN): "does not answer (",
            (("versions", "--token-file", str(tmp_path / "none")), server.url, TOKEN): "cannot be read",
            (("versions", "--token-file", str(tmp_path / "binary")), server.url, TOKEN): "cannot be read",
            (("versions", "--token-file", str(tmp_path / "tokens")), server.url, TOKEN): "other text than one token",
            (("versions",), server.url, "als_ö"): "ALS_TOKEN has other text than one token",
            (("versions",), other, TOKEN): "answered with 200: what answers there is not als-serve.",
        }
        for (words, url, token), sentence in cases.items():
            result = admin(*words, url=url, token=token)
            assert result.exit_code == 1, words
            assert sentence in result.output
            assert TOKEN not in result.output
    assert admin("versions", "--token-file", str(tmp_path / "token"), url=server.url, token="").exit_code == 0
