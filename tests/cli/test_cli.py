"""The command line: output for people, and exit codes for scripts."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import fields
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from service.cli.main import main
from service.model.facts import encode_facts
from service.model.storage.snapshot import FORMAT_VERSION
from service.settings import Settings, variable
from tests.support import ROOT
from tests.support.running import running_server
from tests.training.test_model_files import FACTS


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a model with text ids, in the current directory."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "m.npz",
        user_factors=rng.normal(size=(3, 4)).astype(np.float32),
        item_factors=np.vstack([np.zeros((1, 4)), np.eye(4)]).astype(np.float32),
        user_ids=np.array(["ann", "bob", "cid"]),
        item_ids=np.array(["tea", "ale", "rum", "gin", "pop"]),
        seen_indptr=np.array([0, 1, 1, 1]),
        seen_indices=np.array([1]),
    )
    return tmp_path / "m.npz"


def als_serve(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_check_shows_what_would_be_served(model: Path) -> None:
    """The first lines and the last are as documented; between them stand the log, the ranges and the facts."""
    result = als_serve("check", "--model-path", model)
    size = model.stat().st_size
    lines = result.stdout.splitlines()
    assert result.exit_code == 0, result.output
    assert lines[:7] == [
        "🧪 Testing ALS Model Loading",
        "========================================",
        f"📁 Model path: {model}",
        f"📁 Current directory: {model.parent}",
        f"✅ Model file exists: {model} ({size} bytes)",
        "✅ Model file verification passed",
        "🚀 Testing model initialization...",
    ]
    assert lines[-1] == "✅ Model loading test completed successfully!"
    assert "📊 Model info: 3 users, 5 products" in lines
    assert "recommendation" in result.stdout


def test_check_of_a_model_that_knows_no_seen_items(tmp_path: Path) -> None:
    """What implicit's own save writes has no popularity, and so no range of it."""
    path = tmp_path / "m.npz"
    np.savez(path, user_factors=np.ones((2, 2), np.float32), item_factors=np.ones((3, 2), np.float32))
    result = als_serve("check", "--model-path", path, "--state-dir", tmp_path / "state")
    assert result.exit_code == 0, result.output
    assert "recommendation" in result.stdout
    assert "popularity" not in result.stdout


def test_check_shows_facts_as_they_are(tmp_path: Path) -> None:
    """Names in a model file are neither markup nor control sequences of the terminal."""
    data = msgspec.structs.replace(FACTS.data, files=["[bold]a[/nothing]", "b\x1b[2J\x9b1m", "c\u202e"])
    path = tmp_path / "m.npz"
    np.savez(
        path,
        user_factors=np.ones((2, 2), np.float32),
        item_factors=np.ones((3, 2), np.float32),
        training_facts=np.array(encode_facts(msgspec.structs.replace(FACTS, data=data))),
    )
    result = als_serve("check", "--model-path", path, "--state-dir", tmp_path / "state")
    assert result.exit_code == 0, result.output
    assert "[bold]a[/nothing]" in result.stdout
    assert "b\\u001b[2J\\u009b1m" in result.stdout.replace("\n", "").replace(" ", "")
    assert not {"\x1b", "\x9b", "\u202e"} & set(result.stdout)


def test_check_of_a_file_beyond_the_limit(tmp_path: Path) -> None:
    """It is refused by its size, without reading it."""
    path = tmp_path / "m.npz"
    path.write_bytes(bytes(2**20 + 1))
    result = als_serve("check", "--model-path", path, "--max-model-mb", 1)
    assert result.exit_code == 1
    assert "more than the 1 MB that a model may have" in result.stderr


def test_check_of_a_path_that_is_not_utf_8(model: Path) -> None:
    """A path is bytes; those that are not text are shown as escapes."""
    path = model.rename(model.with_name(os.fsdecode(b"caf\xe9.npz")))
    result = als_serve("check", "--model-path", path)
    assert result.exit_code == 0, result.output
    assert "caf\\udce9.npz" in result.stdout


@pytest.mark.parametrize(
    "command",
    [("check", "--model-path"), ("convert", ROOT / "tests/fixtures/spark/4.3/als")],
    ids=lambda command: command[0],
)
def test_a_path_that_no_file_system_takes_is_said(tmp_path: Path, command: tuple[object, ...]) -> None:
    """In one sentence, as every other mistake."""
    path = tmp_path / f"{'long' * 100}.npz"
    result = als_serve(*command, path)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "ile name too long" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.fixture
def kept(model: Path) -> Path:
    """Return where a server that has served the model keeps it."""
    with running_server(model, Path("als_state")) as server:
        server.wait_until_ready()
    return next(Path("als_state/snapshots").glob(f"{FORMAT_VERSION}-*"))


def test_a_look_at_a_model_changes_nothing_that_a_server_keeps(model: Path, kept: Path) -> None:
    """Neither check nor recommend changes what is served after a restart, or removes a snapshot."""
    before = {entry: entry.stat().st_mtime_ns for entry in Path("als_state").rglob("*")}
    candidate = model.with_name("candidate.npz")
    np.savez(candidate, user_factors=np.ones((2, 2), np.float32), item_factors=np.ones((3, 2), np.float32))
    assert als_serve("check", "--model-path", candidate).exit_code == 0
    assert als_serve("recommend", "--user", 1, "--model-path", candidate).exit_code == 0
    assert als_serve("check", "--model-path", model).exit_code == 0
    assert {entry: entry.stat().st_mtime_ns for entry in Path("als_state").rglob("*")} == before
    assert kept in before


def test_check_without_a_state_directory_leaves_none(model: Path) -> None:
    """Where no server has run there is nothing to verify, and nothing is left behind."""
    result = als_serve("check", "--deep", "--model-path", model)
    assert result.exit_code == 0, result.output
    assert "💤 Nothing is kept of this model in als_state" in result.stdout
    assert not Path("als_state").exists()


def test_check_deep_verifies_what_is_kept(model: Path, kept: Path) -> None:
    """Every byte that a restart would map is compared."""
    result = als_serve("check", "--deep", "--model-path", model)
    assert result.exit_code == 0, result.output
    assert f"✅ Every file of {kept} has its sha256" in result.stdout


def test_check_deep_finds_a_flipped_bit(model: Path, kept: Path) -> None:
    """A snapshot whose bytes were changed on disk is named, and the exit code is 1."""
    damaged = kept / "item_factors.npy"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    result = als_serve("check", "--deep", "--model-path", model)
    assert result.exit_code == 1
    assert "item_factors.npy is not what was written (sha256); delete the directory." in result.stderr


def test_check_where_nothing_can_be_written_says_so(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room for the import is one sentence."""

    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
    result = als_serve("check", "--model-path", model)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: The state directory als_state cannot be used: No space left on device.")


def test_check_of_a_missing_model_says_so(tmp_path: Path) -> None:
    """No file: exit 1, one sentence."""
    result = als_serve("check", "--model-path", tmp_path / "none.pkl", "--state-dir", tmp_path / "state")
    assert result.exit_code == 1
    assert result.stderr == f"Error: Model file not found: {tmp_path / 'none.pkl'}\n"


def test_check_of_a_bad_model_says_why(tmp_path: Path) -> None:
    """A file that the gates refuse: exit 1, and the reason, without a stack trace."""
    path = tmp_path / "bad.npz"
    np.savez(path, user_factors=np.full((2, 2), np.nan, np.float32), item_factors=np.ones((2, 2), np.float32))
    result = als_serve("check", "--model-path", path, "--state-dir", tmp_path / "state")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: user_factors has NaN or infinite numbers, first in row 0; train the model again.\n"
    )
    assert "Traceback" not in result.output


def test_check_is_not_content_with_an_older_model(model: Path) -> None:
    """A good snapshot on disk does not make a bad file good."""
    als_serve("check", "--model-path", model)
    model.write_bytes(b"not a model")
    result = als_serve("check", "--model-path", model)
    assert result.exit_code == 1
    assert "completed successfully" not in result.stdout


def test_recommend_shows_a_table(model: Path) -> None:
    """The best items first, with scores; what the user had is left out."""
    result = als_serve("recommend", "--user", "ann", "-n", 3, "--model-path", model)
    assert result.exit_code == 0, result.output
    first, *table = result.stdout.splitlines()
    assert re.fullmatch("For ann, by model [0-9a-f]{16}", first)
    assert len([line for line in table if line.strip()[:1].isdigit()]) == 3
    assert "ale" not in result.stdout


def test_recommend_says_nothing_to_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids are shown as they are, whatever a terminal or a table would make of them, and whole on a narrow one."""
    monkeypatch.setenv("COLUMNS", "30")
    user, items = "[/x]\x1b[31m", ["[red]", "[/red]", ":smile:", "an-" * 80 + "end"]
    np.savez(
        tmp_path / "m.npz",
        user_factors=np.ones((1, 1), np.float32),
        item_factors=np.ones((4, 1), np.float32),
        user_ids=np.array([user]),
        item_ids=np.array(items),
    )
    result = als_serve("recommend", "--user", user, "--model-path", tmp_path / "m.npz")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("For [/x]\\u001b[31m, by model")
    assert set(items) < set(result.stdout.split())


def test_recommend_for_an_unknown_user_fails(model: Path) -> None:
    """An unknown user is exit code 1 and one sentence."""
    result = als_serve("recommend", "--user", "dan", "--model-path", model)
    assert result.exit_code == 1
    assert result.stderr.endswith("has no user 'dan'.\n")


def test_help_shows_each_settings_variable_and_default() -> None:
    """Every setting's flag, variable, default and help are in --help."""
    text = " ".join(als_serve("serve", "--help").output.split())
    for setting in fields(Settings):
        assert "--" + setting.name.replace("_", "-") in text
        default = "" if setting.default is None else f"; default: {setting.default}"
        assert f"[env var: {variable(setting.name)}{default}" in text
        assert setting.metadata["help"] in text


def test_an_impossible_value_stops_the_start(model: Path) -> None:
    """A value out of range is one sentence."""
    result = als_serve("serve", "--model-path", model, "--keep-snapshots", 0)
    assert result.exit_code == 1
    assert result.stderr == "Error: ALS_KEEP_SNAPSHOTS is 0; it must be 1 or more.\n"


def test_a_misspelt_variable_stops_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt variable such as ALS_PROT is an error, instead of a server on the wrong port."""
    monkeypatch.setenv("ALS_PROT", "80")
    result = als_serve("serve")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: The environment variable ALS_PROT is not a setting of als-serve; did you mean ALS_PORT?\n"
    )


def test_a_setting_may_come_from_the_environment(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable does what its flag does."""
    monkeypatch.setenv("ALS_MODEL_PATH", str(model))
    assert als_serve("check").exit_code == 0


def test_a_second_demonstration_leaves_the_first_alone(tmp_path: Path) -> None:
    """If the port is taken, it says so before it writes any file."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = als_serve("demo", "--directory", tmp_path / "shop", "--port", taken.getsockname()[1])
    assert result.exit_code == 1
    assert "Address already in use; set ALS_HOST or ALS_PORT." in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("children_are_measured")
def test_the_demonstration_trains_serves_and_shows_what_to_try(tmp_path: Path) -> None:
    """One command from nothing to answers: the curl lines that it prints work as they are, and Ctrl+C ends it."""
    command = [sys.executable, "-u", "-m", "service", "demo", "--directory", str(tmp_path / "shop"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as demo:
        assert demo.stdout
        said = "".join(iter(demo.stdout.readline, "   Ctrl+C stops it.\n"))
        tour = said.split("in another terminal:")[1].replace("\\\n", "")
        lines = [line.strip() for line in tour.splitlines() if line.strip()]
        answers = [subprocess.run(shlex.split(line), capture_output=True, text=True, check=True) for line in lines]
        demo.send_signal(signal.SIGINT)
        assert demo.wait(30) == 0
    versions = {json.loads(answer.stdout)["model_version"] for answer in answers}
    assert len(lines) == 5
    assert len(versions) == 1
    assert "users      3000 (text ids)" in said


def test_sample_writes_data_to_train_on(tmp_path: Path) -> None:
    """The shop of the demonstration, as files for a first training of one's own."""
    result = als_serve("sample", "--directory", tmp_path / "shop")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "shop/interactions.csv").read_text().startswith("user_id,item_id,quantity\n")


def test_sample_where_nothing_can_be_written_says_so(tmp_path: Path) -> None:
    """A directory that cannot be made is one sentence."""
    (tmp_path / "file").touch()
    result = als_serve("sample", "--directory", tmp_path / "file/shop")
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: The sample shop cannot be written to {tmp_path / 'file/shop'}: Not a directory; "
        "name another directory.\n"
    )


def test_help_lists_all_commands() -> None:
    """In the order of their names, although each is loaded only when it runs."""
    listed = re.findall(r"^  ([a-z-]+) ", CliRunner().invoke(main, ["--help"]).stdout.partition("Commands:")[2], re.M)
    assert listed == sorted(listed)
    assert {"serve", "train", "convert", "recommend-all"} <= set(listed)


def test_a_shell_completes_whatever_the_environment_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is run then, so a variable that is not a setting is not refused."""
    monkeypatch.setenv("ALS_NO_SUCH_SETTING", "1")
    completing = ShellComplete(main, {}, "als-serve", "_ALS_SERVE_COMPLETE")
    assert "--against" in {found.value for found in completing.get_completions(["check"], "--")}
