"""The health check of the image: it asks the address that the server really has."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from service.cli.main import main
from service.errors import UnhealthyError
from service.health import ask_health, note_address
from tests.support.helpers import model_bytes, put
from tests.support.running import running_server


def health(state_dir: Path) -> subprocess.CompletedProcess[str]:
    """Run the command behind a proxy that does not answer."""
    command = [sys.executable, "-I", "-m", "service", "health", "--state-dir", str(state_dir)]
    proxy = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), "http://127.0.0.1:1")
    return subprocess.run(command, env=os.environ | proxy, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "settings", [{}, {"workers": 2}, {"management_port": 0}, {"workers": 2, "management_port": 0}], ids=str
)
def test_the_address_that_a_server_has_is_asked(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Any free port, several workers, the management port: healthy while it runs, and not after."""
    put(tmp_path / "m.npz", model_bytes(1))
    with running_server(tmp_path / "m.npz", tmp_path / "state", **settings) as server:
        server.wait_until_ready()
        asked = health(tmp_path / "state")
        assert (asked.returncode, asked.stderr) == (0, "")
    asked = health(tmp_path / "state")
    assert asked.returncode == 1
    assert "does not answer" in asked.stderr
    assert asked.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("family", "host", "asked"), [(socket.AF_INET, "0.0.0.0", "127.0.0.1"), (socket.AF_INET6, "::", "::1")]
)
def test_a_server_at_every_address_is_asked_at_the_loopback(
    tmp_path: Path, family: socket.AddressFamily, host: str, asked: str
) -> None:
    """Which is one that every machine has."""
    with socket.socket(family) as bound:
        bound.bind((host, 0))
        note_address(tmp_path, bound)
        with pytest.raises(UnhealthyError, match=rf"^The server at {asked} port {bound.getsockname()[1]} does not"):
            ask_health(tmp_path, 1)


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"host": "127.0.0.1"}', b"\xff"])
def test_where_no_address_is_noted_there_is_no_server(tmp_path: Path, content: bytes | None) -> None:
    """One sentence, with the setting that may be wrong."""
    if content is not None:
        (tmp_path / "address.json").write_bytes(content)
    with pytest.raises(UnhealthyError, match=r"^No server has noted its address in .*ALS_STATE_DIR"):
        ask_health(tmp_path, 1)


def test_a_silent_server_is_not_healthy(tmp_path: Path) -> None:
    """One that accepts and says nothing, or something that is not HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        note_address(tmp_path, listening)
        with pytest.raises(UnhealthyError, match="does not answer"):
            ask_health(tmp_path, 0.05)


def test_an_answer_that_is_not_200_is_not_healthy(tmp_path: Path) -> None:
    """Something else may listen there by now."""
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as other:
        threading.Thread(target=other.handle_request).start()
        note_address(tmp_path, other.socket)
        with pytest.raises(UnhealthyError, match=r"is not healthy \(status 501\); see its log\.$"):
            ask_health(tmp_path, 10)


def test_the_command_fails_with_a_sentence(tmp_path: Path) -> None:
    """The reason, and no traceback: it is what `docker inspect` shows."""
    result = CliRunner().invoke(main, ["health", "--state-dir", str(tmp_path)])
    assert (result.exit_code, result.exception and type(result.exception)) == (1, SystemExit)
    assert result.output.startswith("Error: No server has noted its address in ")
