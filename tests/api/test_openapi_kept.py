"""The running server keeps to its document."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.documented import documented_model
from tests.support.running import RunningServer, running_server

HOOKS = Path(__file__).parents[1] / "support" / "fuzzing.py"
CONFIGURATION = HOOKS.with_name("schemathesis.toml")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Serve a model that knows the examples of the document."""
    directory = tmp_path_factory.mktemp("documented")
    model = directory / "model.npz"
    model.write_bytes(documented_model())
    with running_server(model, directory / "state") as server:
        server.wait_until_ready()
        yield server


def test_every_answer_is_as_documented(server: RunningServer, tmp_path: Path) -> None:
    """Requests that fit the document are accepted, others refused; statuses, headers and bodies are as documented."""
    program = Path(sys.executable).with_name("schemathesis")
    command = [str(program), "--config-file", str(CONFIGURATION), "run", f"{server.url}/openapi.json"]
    bounds = ["--phases", "examples,coverage,fuzzing", "--max-examples", "6", "--seed", "1"]
    done = subprocess.run(
        [*command, *bounds, "--checks", "all", "--no-color"],
        env=os.environ | {"SCHEMATHESIS_HOOKS": str(HOOKS)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    sent = re.search(r"(\d+) generated, \1 passed", done.stdout)
    assert sent, done.stdout
    assert int(sent[1]) > 500
    assert not [event for event in server.events if event["event"] == "request_failed"]
