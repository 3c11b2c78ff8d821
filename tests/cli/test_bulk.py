"""Everyone's list as files: the same as over HTTP, and a stopped run goes on."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from service.bulk import lists, running
from service.bulk.output import Output
from service.cli import bulk
from service.cli.main import main
from service.errors import OutputError
from service.model.factors import Factors
from service.model.ids import IdKind
from tests.support.helpers import model_bytes
from tests.support.models import make_factors, popularity_bytes
from tests.support.running import running_server
from tests.support.waiting import until

USERS = 120


def recommend_all(model: Path, out: Path, *options: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, ["recommend-all", *map(str, (model, "--out", out, *options))])


def some_without_taste(ids: IdKind = "int", **changes: Any) -> Factors:
    """Make a model of whose users every third has factors that are all 0."""
    made = make_factors(users=USERS, ids=ids, **changes)
    made.user_factors[::3] = 0
    return made


def write(path: Path, factors: Factors) -> Path:
    """Write a model file."""
    path.write_bytes(model_bytes(factors=factors))
    return path


def lines(out: Path) -> list[dict[str, Any]]:
    """Return all lines of JSON, in the order of the parts."""
    return [json.loads(line) for part in sorted(out.glob("part-*")) for line in part.read_text().splitlines()]


def as_float32(lists: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return lists with the scores that their decimals stand for."""
    return [
        {**each, "items": [{**item, "score": float(np.float32(item["score"]))} for item in each["items"]]}
        for each in lists
    ]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each part of a run in this process end after ten lists of ten."""
    monkeypatch.setattr(lists, "_ENTRIES_PER_PART", 100)


@pytest.mark.parametrize("ids", ["int", "str"])
@pytest.mark.parametrize("options", [(), ("--include-seen", "-n", 7)], ids=["", "seen"])
def test_the_lists_are_those_of_a_server(
    tmp_path: Path, small_parts: None, ids: IdKind, options: tuple[object, ...]
) -> None:
    """Of every user, those without taste included; ids, scores and strategies, in both forms."""
    model = write(tmp_path / "m.npz", some_without_taste(ids))
    for form in ("jsonl", "parquet"):
        result = recommend_all(model, tmp_path / f"lists.{form}", "--threads", 2, *options)
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith(f"📦 {USERS} lists are in {tmp_path}/lists.{form} (")
    query = "?n=7&exclude_seen=false" if options else "?n=10"
    found = lines(tmp_path / "lists.jsonl")
    with running_server(model, tmp_path / "state") as server:
        server.wait_until_ready()
        for line in found:
            _, body = server.get(f"/v1/users/{quote(str(line['user_id']))}/recommendations{query}")
            assert {"model_version": body["model_version"], **line} == body
    assert len({line["user_id"] for line in found}) == USERS
    assert {line["strategy"] for line in found} == {"als", "popular"}
    assert as_float32(pq.read_table(tmp_path / "lists.parquet").to_pylist()) == as_float32(found)


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    """After SIGKILL, what is whole stays as it is, halves go, and in the end all is as if nothing had happened."""
    model = write(tmp_path / "m.npz", make_factors(users=20_000, items=300, factors=8, pairs=1000))
    command = [sys.executable, "-m", "service", "recommend-all", str(model), "-n", "50", "--threads", "1", "--out"]
    out = tmp_path / "killed.jsonl"
    process = subprocess.Popen([*command, str(out)], start_new_session=True)
    deadline = time.monotonic() + 60
    while len(list(out.glob("part-*"))) < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = {part: part.stat().st_mtime_ns for part in out.glob("part-*")}
    assert not (out / "_SUCCESS").exists()
    (out / "_part-00009.jsonl.1.half").write_bytes(b"{")
    subprocess.run([*command, str(out)], check=True, capture_output=True)
    subprocess.run([*command, str(tmp_path / "whole.jsonl")], check=True, capture_output=True)
    assert {part: part.stat().st_mtime_ns for part in kept} == kept
    ended = {part.name: part.read_bytes() for part in out.iterdir()}
    assert ended == {part.name: part.read_bytes() for part in (tmp_path / "whole.jsonl").iterdir()}
    assert "_SUCCESS" in ended
    assert len(ended) == 12  # ten parts of 2,000 users


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Have the processes of a test heed SIGINT, even if the tests run where it is ignored, as in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupted_run_ends(tmp_path: Path, interruptible: None) -> None:
    """Ctrl+C waits for the parts that have begun, and not for all others."""
    model = write(tmp_path / "m.npz", make_factors(users=20_000, items=300, factors=8, pairs=1000))
    out = tmp_path / "lists.jsonl"
    command = [sys.executable, "-m", "service", "recommend-all", str(model), "-n", "300", "--threads", "1"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, "--out", str(out)], **pipes) as process:
        until(lambda: [*out.glob("part-*")] or process.poll() is not None, lambda: "no part")
        process.send_signal(signal.SIGINT)
        said, complained = process.communicate()
    assert (process.returncode, said, complained.strip()) == (1, "", "Aborted!")
    assert not (out / "_SUCCESS").exists()


def test_a_run_that_was_killed_at_once_goes_on(tmp_path: Path) -> None:
    """Even before it could write what it is about: what it left is not taken for a file of somebody else."""
    model, out = write(tmp_path / "m.npz", make_factors()), tmp_path / "lists.jsonl"
    out.mkdir()
    (out / "__job.json.1.half").write_bytes(b"{")
    assert recommend_all(model, out).exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == ["_SUCCESS", "_job.json", "part-00000.jsonl"]


def test_two_runs_do_not_write_to_one_directory(tmp_path: Path) -> None:
    """The second one says so, and leaves the files of the first one alone; after it, the directory is free."""
    model, out = write(tmp_path / "m.npz", make_factors()), tmp_path / "lists.jsonl"
    out.mkdir()
    first = os.open(out, os.O_RDONLY)
    fcntl.flock(first, fcntl.LOCK_EX)
    refused = recommend_all(model, out)
    assert (refused.exit_code, refused.stderr) == (1, f"Error: Another run is writing to {out}; wait for it.\n")
    assert not list(out.iterdir())
    os.close(first)
    assert recommend_all(model, out).exit_code == 0


def test_all_cores_work_and_progress_is_shown(
    tmp_path: Path, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many threads as the process may use cores; the bar begins with what is done, and ends with all users."""
    shown: list[tuple[str, int, int]] = []

    @contextmanager
    def drawn() -> Iterator[Any]:
        yield lambda *report: shown.append(report)

    threads: list[int] = []

    class Noted(ThreadPoolExecutor):
        def __init__(self, count: int) -> None:
            threads.append(count)
            super().__init__(count)

    monkeypatch.setattr(bulk, "bars", drawn)
    monkeypatch.setattr(running, "ThreadPoolExecutor", Noted)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    model, out = write(tmp_path / "m.npz", make_factors(users=USERS)), tmp_path / "lists.jsonl"
    assert recommend_all(model, out).exit_code == 0
    assert shown == [("recommending", done, USERS) for done in range(0, USERS + 1, 10)]
    shown.clear()
    for part in (3, 7):
        (out / f"part-0000{part}.jsonl").unlink()
    assert recommend_all(model, out).exit_code == 0
    assert shown == [("recommending", done, USERS) for done in (USERS - 20, USERS - 10, USERS)]
    assert threads == [3, 3]


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    """The same command again writes nothing."""
    model = write(tmp_path / "m.npz", make_factors(users=USERS))
    out = tmp_path / "lists.parquet"
    assert recommend_all(model, out).exit_code == 0
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert recommend_all(model, out).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_lists_of_something_else_are_not_mixed(tmp_path: Path) -> None:
    """Another model or other options need another directory; one with other files is left alone."""
    model, other = (write(tmp_path / f"{seed}.npz", make_factors(seed=seed)) for seed in (1, 2))
    out = tmp_path / "lists.jsonl"
    assert recommend_all(model, out).exit_code == 0
    sentence = (
        f"Error: {out} has lists of another model, of other users or with other options; remove it, or name another "
        "directory.\n"
    )
    for result in (
        recommend_all(other, out),
        recommend_all(model, out, "-n", 5),
        recommend_all(model, out, "--include-seen"),
    ):
        assert (result.exit_code, result.stderr) == (1, sentence)
    (out / "_job.json").write_bytes(b"{")
    assert recommend_all(model, out).stderr == sentence
    used = tmp_path / "used.jsonl"
    used.mkdir()
    (used / "mine").touch()
    refused = recommend_all(model, used)
    assert refused.stderr == f"Error: {used} has other files; name a new or an empty directory.\n"


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    """In one sentence: a form that is not known, and a place where no directory can be."""
    model = write(tmp_path / "m.npz", make_factors())
    result = recommend_all(model, tmp_path / "lists.csv")
    assert result.exit_code == 2
    assert "lists.csv must end in .parquet or .jsonl." in result.stderr
    result = recommend_all(model, tmp_path / "m.npz" / "lists.jsonl")
    assert result.exit_code == 1
    assert result.stderr == f"Error: The lists cannot be written to {tmp_path}/m.npz/lists.jsonl: Not a directory.\n"


def test_a_model_without_factors_recommends_what_is_popular(tmp_path: Path) -> None:
    """As a server with limited functions does."""
    model, out = tmp_path / "m.npz", tmp_path / "lists.jsonl"
    model.write_bytes(popularity_bytes())
    assert recommend_all(model, out).exit_code == 0
    found = {line["user_id"]: [item["item_id"] for item in line["items"]] for line in lines(out)}
    assert found == {"ann": ["ale", "rum", "gin"], "bob": ["rum", "gin"], "cid": ["gin"]}
    assert {line["strategy"] for line in lines(out)} == {"popular"}


def test_a_model_without_seen_items_has_only_its_scores(tmp_path: Path) -> None:
    """Nothing is popular then, so users without taste get what their scores of 0 give, as over HTTP."""
    model = write(tmp_path / "m.npz", some_without_taste(pairs=None))
    assert recommend_all(model, tmp_path / "lists.jsonl").exit_code == 0
    assert {line["strategy"] for line in lines(tmp_path / "lists.jsonl")} == {"als"}


def test_a_part_that_cannot_be_written_ends_the_run(
    tmp_path: Path, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence says why, no thread goes on, and what is written stays for the next run."""
    written = Output.write

    def full(output: Output, number: int, write: Any) -> None:
        if number == 3:
            raise OutputError("The disk is full.")
        written(output, number, write)

    monkeypatch.setattr(Output, "write", full)
    model, out = write(tmp_path / "m.npz", make_factors(users=USERS)), tmp_path / "lists.jsonl"
    result = recommend_all(model, out, "--threads", 1)
    assert (result.exit_code, result.stderr) == (1, "Error: The disk is full.\n")
    parts = {path.name for path in out.glob("part-*")}
    assert {"part-00000.jsonl", "part-00001.jsonl", "part-00002.jsonl"} <= parts
    assert "part-00003.jsonl" not in parts
    assert not (out / "_SUCCESS").exists()


def filtered(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """Write a model, and the files of a policy: a catalog of most items, and lists."""
    factors = some_without_taste(items=60)
    written = {
        "items": "id,kind,available\n"
        + "".join(f"{i},{'ab'[n % 2]},{n % 5 > 0}\n" for n, i in enumerate(factors.item_ids[:50])),
        "unavailable": "".join(f"{item}\n" for item in factors.item_ids[::7]),
        "hidden_users": "".join(f"{user}\n" for user in factors.user_ids[::4]),
    }
    paths = {name: tmp_path / f"{name}.csv" for name in written}
    for name, content in written.items():
        paths[name].write_text(content)
    return write(tmp_path / "m.npz", factors), paths


def flags(paths: dict[str, Any]) -> list[object]:
    """Return files as options, as a server has them as settings."""
    return [part for name, path in paths.items() for part in (f"--{name.replace('_', '-')}", path)]


def test_the_policy_and_a_filter_are_those_of_a_server(tmp_path: Path, small_parts: None) -> None:
    """A catalog, unavailable items, hidden users and a filter: the same lists, and none of a hidden user."""
    model, paths = filtered(tmp_path)
    out, text = tmp_path / "lists.jsonl", "NOT kind = 'b'"
    result = recommend_all(model, out, *flags(paths), "--items-required", "true", "--filter", text)
    assert result.exit_code == 0, result.output
    found = lines(out)
    assert len(found) == USERS - USERS / 4
    with running_server(model, tmp_path / "state", items_required=True, **paths) as server:
        server.wait_until_ready()
        for line in found:
            _, body = server.get(f"/v1/users/{line['user_id']}/recommendations?n=10&filter={quote(text)}")
            assert {"model_version": body["model_version"], **line} == body
    hidden = set(paths["hidden_users"].read_text().split())
    assert not hidden & {str(line["user_id"]) for line in found}
    assert {line["strategy"] for line in found} == {"als", "popular"}


def test_only_some_users_have_lists(tmp_path: Path) -> None:
    """Those of a file; who is not in the model is counted, and a stopped run goes on with the same users only."""
    model, out, listed = write(tmp_path / "m.npz", make_factors()), tmp_path / "lists.jsonl", tmp_path / "users.txt"
    assert recommend_all(model, tmp_path / "all.jsonl").exit_code == 0
    whole = lines(tmp_path / "all.jsonl")
    listed.write_text("".join(f"{line['user_id']}\n" for line in whole[::3]) + "nobody\n")
    result = recommend_all(model, out, "--users", listed)
    assert result.exit_code == 0
    assert lines(out) == whole[::3]
    count = len(whole[::3])
    assert result.stdout.splitlines()[0].startswith(f"📦 {count} lists are in {out} (")
    assert result.stdout.splitlines()[1] == (
        f"👤 1 of the {count + 1} users have none, because the model does not know them or they are hidden"
    )
    listed.write_text(f"{whole[0]['user_id']}\n")
    assert (
        "has lists of another model, of other users or with other options"
        in recommend_all(model, out, "--users", listed).stderr
    )
    assert "📦 1 list is in " in recommend_all(model, tmp_path / "one.jsonl", "--users", listed).stdout
    assert "has lists of another model" in recommend_all(model, out).stderr


@pytest.mark.parametrize("ids", ["int", "str"])
def test_no_lists_are_a_table_as_well(tmp_path: Path, ids: IdKind) -> None:
    """If no user is known, the table has no rows, but the same columns."""
    model, listed = write(tmp_path / "m.npz", make_factors(ids=ids)), tmp_path / "users.txt"
    listed.write_text("nobody\n")
    assert recommend_all(model, tmp_path / "some.parquet").exit_code == 0
    result = recommend_all(model, tmp_path / "none.parquet", "--users", listed)
    assert result.stdout.startswith("📦 0 lists are in ")
    none = pq.read_table(tmp_path / "none.parquet")
    assert (none.num_rows, none.schema) == (0, pq.read_table(tmp_path / "some.parquet").schema)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--filter", "kind = 'a'"], "--filter needs --items, a file with the attributes to filter by."),
        (["--users", "missing.txt"], "There is no file at missing.txt."),
        (["--model-path", "other.npz"], "No such option '--model-path'."),
        (["--items", "missing.csv"], "There is no file at missing.csv."),
        (["--items", "{items}", "--filter", "kin = 'a'"], "Did you mean kind?"),
    ],
)
def test_a_filter_or_a_file_that_is_wrong_is_said(tmp_path: Path, options: list[str], sentence: str) -> None:
    """In one sentence, before anything is written."""
    model, paths = filtered(tmp_path)
    result = recommend_all(model, tmp_path / "lists.jsonl", *(option.format(**paths) for option in options))
    assert result.exit_code in {1, 2}
    assert sentence in result.stderr
    assert not (tmp_path / "lists.jsonl").exists()
