"""What is imported: nothing but what is installed, whatever stands beside the model or in a variable."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.helpers import model_bytes, put
from tests.support.interactions import write_interactions
from tests.support.poison import LIBRARIES, poison
from tests.support.running import running_server

LAUNCHER = Path(sys.executable).with_name("als-serve")
MODEL = Path("als_model.npz")
STATE = Path("als_state")


@pytest.fixture
def executed(tmp_path: Path) -> Path:
    """Return the file that appears once a module beside the model is executed."""
    return poison(tmp_path)


def run(
    directory: Path, *command: str | Path, path: str | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a directory that is also on PYTHONPATH."""
    # Where a test measures itself, Python would import what measures from there before anything of ours.
    unmeasured = {name: text for name, text in os.environ.items() if not name.startswith("COVERAGE_")}
    environment = unmeasured | {"PYTHONPATH": str(directory), "PATH": path or os.environ["PATH"]} | variables
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)


def test_nothing_beside_the_model_is_imported_by_a_server(tmp_path: Path, executed: Path) -> None:
    """Not at its start, by its import of a model, or by that of the next; relative paths mean what they did."""
    first = put(tmp_path / MODEL, model_bytes(1))
    variables = {"PYTHONPATH": str(tmp_path)}
    with running_server(MODEL, STATE, variables, command=[LAUNCHER, "serve"], cwd=tmp_path) as server:
        server.wait_until_serving(first)
        server.wait_until_serving(put(tmp_path / MODEL, model_bytes(2)))
        assert server.wait_for("loading")["path"] == str(MODEL)
        (tmp_path / MODEL).unlink()
        assert server.wait_for("file_missing")["message"] == f"❌ Model file not found: {MODEL}"
    assert not executed.exists()


def test_nothing_beside_the_model_is_imported_by_a_training(tmp_path: Path, executed: Path) -> None:
    """The process that trains for a server finds its data by a relative path, and nothing else there."""
    data = write_interactions(tmp_path / "data.csv").relative_to(tmp_path)
    variables = {"PYTHONPATH": str(tmp_path)}
    command: list[str | Path] = [LAUNCHER, "serve"]
    with running_server(MODEL, STATE, variables, command=command, cwd=tmp_path, training_data=data) as server:
        server.wait_until_ready()
        told = server.wait_for("no_model")
        assert (told["path"], told["data"]) == (str(MODEL), str(data))
        assert server.wait_for("trained")["path"] == str(MODEL)
    assert (tmp_path / MODEL).is_file()
    assert not executed.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "--deep", "--model-path", str(MODEL)),
        ("recommend", "--model-path", str(MODEL), "--user", "1"),
        ("train", "data.csv", "--model-path", "trained.npz", "--iterations", "1"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_nothing_beside_the_model_is_imported_by_a_command(
    tmp_path: Path, executed: Path, arguments: tuple[str, ...]
) -> None:
    """It works as if the modules were not there."""
    put(tmp_path / MODEL, model_bytes(1))
    write_interactions(tmp_path / "data.csv")
    done = run(tmp_path, LAUNCHER, *arguments)
    assert done.returncode == 0 or "has no user '1'" in done.stderr, done.stderr
    assert not executed.exists()


def test_python_m_service_isolates_itself(tmp_path: Path) -> None:
    """What it imports, at once or later, is not looked for in the working directory, though Python was told to."""
    executed = poison(tmp_path, names=tuple(name for name in LIBRARIES if name != "encodings"))
    put(tmp_path / MODEL, model_bytes(1))
    done = run(tmp_path, sys.executable, "-m", "service", "check", "--model-path", str(MODEL))
    assert done.returncode == 0, done.stderr
    assert not executed.exists()


def test_the_command_may_be_a_symbolic_link(tmp_path: Path) -> None:
    """As pipx and uv make one, also where a path has a space in it."""
    link = tmp_path / "a bin" / "als-serve"
    link.parent.mkdir()
    link.symlink_to(LAUNCHER)
    done = run(tmp_path, link, "--version")
    assert done.stdout.startswith("als-serve, version "), done.stderr
    done = run(link.parent, "als-serve", "--no-such-option", path=f"{link.parent}:{os.environ['PATH']}")
    assert done.stderr.startswith("Usage: als-serve "), done.stderr


@pytest.mark.parametrize(
    ("python3", "said"),
    [
        (f'exec {sys.executable} "$@"', "als-serve, version "),
        ("exit 1", "python3 does not find als-serve in isolated mode, as after pip install --user;"),
        (None, "There is no python3 next to "),
    ],
    ids=["for all users", "for one user", "nowhere"],
)
def test_the_command_without_python_beside_it(tmp_path: Path, python3: str | None, said: str) -> None:
    """It takes the Python that is on the PATH, or says in one sentence what to do."""
    programs, other = tmp_path / "programs", tmp_path / "other"
    for directory in (programs, other):
        directory.mkdir()
    shutil.copy(LAUNCHER, other)
    for name in ("dirname", "readlink"):
        (programs / name).symlink_to(str(shutil.which(name)))
    if python3:
        (programs / "python3").write_text(f"#!/bin/sh\n{python3}\n")
        (programs / "python3").chmod(0o755)
    done = run(tmp_path, other / "als-serve", "--version", path=str(programs))
    assert said in done.stdout + done.stderr
    assert done.returncode == (0 if "version" in said else 1)
