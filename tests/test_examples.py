"""What the documents tell a reader to type works."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from implicit.als import AlternatingLeastSquares

from service.cli.demo import train_on_sample
from service.cli.main import main
from service.training.sample import write_sample
from tests.support import ROOT
from tests.support.documents import DOCUMENTS, name_of, page
from tests.support.running import running_server

SNIPPETS = re.findall(r"```python\n(.*?)```", page("docs/models.md"), re.DOTALL)
# Three blanks end a command: the runbook says beside some what they show.
_COMMAND = re.compile(r"^\$ .*?\bals-serve ([a-z]+\b.*?)(?:   .*)?$", re.MULTILINE)
COMMANDS = [
    (name_of(document), command)
    for document in DOCUMENTS
    for command in _COMMAND.findall(document.read_text(encoding="utf-8"))
    if command.split()[0] in main.commands
]
TOURS = {
    command: shown
    for name in ("README.md", "docs/api.md")
    for command, shown in re.findall(r"^\$ (curl .*)\n(.*)$", page(name), re.MULTILINE)
}


@pytest.fixture(scope="module")
def demo_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the demonstration's own model and titles."""
    directory = tmp_path_factory.mktemp("demo")
    model, titles = train_on_sample(directory)
    with running_server(model, directory / "state", items=titles) as server:
        server.wait_until_ready()
        server.wait_for("catalog")
        yield server.url


@pytest.mark.parametrize("command", TOURS, ids=lambda command: command[:60])
def test_the_tour_shows_what_the_demo_answers(demo_url: str, command: str) -> None:
    """Each curl line, sent to the demo's model, is answered as shown below it, except for identifiers."""
    asked = command.replace("http://127.0.0.1:8080", demo_url)
    answer = subprocess.run(shlex.split(asked), capture_output=True, text=True, check=True).stdout
    assert lasting(json.loads(answer)) == lasting(json.loads(TOURS[command]))


def lasting(value: object) -> object:
    """Return an answer without its identifiers, and with numbers that equal those of a training on another machine."""
    if isinstance(value, dict):
        return {key: lasting(member) for key, member in value.items() if key not in {"model_version", "request_id"}}
    if isinstance(value, list):
        return [lasting(member) for member in value]
    return pytest.approx(value, abs=0.005) if isinstance(value, float) else value


def test_the_readme_has_a_tour_of_six_lines() -> None:
    """Six curl lines show what als-serve does."""
    assert len(re.findall(r"^\$ curl ", page("README.md"), re.MULTILINE)) == 6


@pytest.mark.parametrize(("document", "command"), COMMANDS, ids=lambda text: text[:40])
def test_every_command_shown_is_understood(document: str, command: str) -> None:
    """The command has these options and arguments, and takes their values."""
    name, *arguments = shlex.split(command, comments=True)
    with main.commands[name].make_context(name, arguments):
        pass


def test_every_command_is_documented() -> None:
    """Each command of als-serve is named on a page in docs/."""
    text = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    assert [name for name in main.commands if f"als-serve {name}" not in text] == []


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Return what the snippets in docs/models.md use, in a directory that has the sample shop."""
    monkeypatch.chdir(tmp_path)
    write_sample(Path("demo-shop"), users=30, items=24)
    user_items = scipy.sparse.random(30, 20, density=0.3, format="csr", dtype=np.float32, random_state=1)
    model = AlternatingLeastSquares(factors=4, iterations=1, num_threads=1, random_state=1)
    model.fit(user_items, show_progress=False)
    names = {"model": model, "user_items": user_items, "np": np, "pickle": pickle}
    return names | {"user_ids": [f"u{row}" for row in range(30)], "item_ids": [f"i{row}" for row in range(20)]}


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_model_saved_as_documented_is_served(snippet: str, tmp_path: Path, names: dict[str, object]) -> None:
    """Each snippet in docs/models.md writes a file that `als-serve check` accepts."""
    exec(snippet, names)
    (written,) = (path for path in tmp_path.iterdir() if path.is_file())
    with contextlib.redirect_stdout(io.StringIO()):
        main(["check", "--model-path", str(written)], standalone_mode=False)


def test_the_complete_example_stores_all_that_explanations_need(names: dict[str, object]) -> None:
    """The npz file in docs/models.md also has the parameters of training."""
    (snippet,) = (snippet for snippet in SNIPPETS if "np.savez" in snippet)
    exec(snippet, names)
    with np.load("als_model.npz") as archive:
        assert (archive["regularization"], archive["alpha"]) == (0.05, 2.0)
        assert {"seen_indptr", "seen_indices", "seen_weights"} < set(archive)
