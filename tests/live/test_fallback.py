"""A server without a usable model trains one, or continues with limited functions."""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.request
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from service.children.lifeline import NOBODY
from tests.support.helpers import in_child, model_bytes, mounted, put, version
from tests.support.interactions import write_interactions
from tests.support.running import RunningServer, running_server

MODEL = model_bytes(1)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a file of interactions."""
    return write_interactions(tmp_path / "data.csv")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a model path where nothing is, in a directory of its own."""
    (tmp_path / "models").mkdir()
    return tmp_path / "models" / "als_model.pkl"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return a state directory."""
    return tmp_path / "state"


def in_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    """Let every process that trains do something else once it has read the data."""
    in_worker(tmp_path, monkeypatch, f"def train(*_, **__):\n    {does}\nchild.train = train")


@pytest.fixture
def endless(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return data on which a training takes longer than any test."""
    in_training(tmp_path, monkeypatch, "time.sleep(3600)")
    return data


def model(server: RunningServer) -> dict[str, Any]:
    """Return what the server says of its model."""
    answer: dict[str, Any] = server.get("/v1/model")[1]
    return answer


def workers(server: RunningServer) -> list[psutil.Process]:
    """Return the processes that train for a server."""
    children = psutil.Process(server.process.pid).children()
    return [child for child in children if "service.children.training" in child.cmdline()]


def logged(server: RunningServer) -> list[str]:
    """Return the names of the events so far."""
    return [event["event"] for event in server.events]


def test_without_a_file_one_is_trained(path: Path, state: Path, data: Path) -> None:
    """The model arrives at the path, by the one road; the next start finds it and does not train."""
    with running_server(path, state, training_data=data) as server:
        server.wait_until_ready()
        server.wait_for("trained")
        said = model(server)
        assert (said["state"], said["users"], said["items"]) == ("ready", 30, 20)
        assert said["training"]["outcome"] == "trained"
        assert said["trained"]["data"]["files"] == ["data.csv"]
        assert server.get("/v1/users/user-3/recommendations?n=3")[1]["strategy"] == "als"
        events = logged(server)
        for before, after in [*pairwise(TOLD), *pairwise(LOADED)]:
            assert events.index(before) < events.index(after), events
        assert "skipping_training" not in events
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    with running_server(path, state, training_data=data) as server:
        server.wait_until_ready()
        server.wait_for("skipping_training")
        assert "training" not in logged(server)


#: In this order; a watcher may see the file before the process that wrote it has said so.
TOLD = ["initializing", "file_missing", "no_model", "training", "trained"]
LOADED = ["training", "file_found", "loaded", "initialized_trained"]


def test_while_it_trains_the_server_answers_what_it_can(path: Path, state: Path, endless: Path) -> None:
    """While it trains, the server is alive, not ready, says so, and tells clients when to retry."""
    with running_server(path, state, training_data=endless) as server:
        server.wait_for("training")
        assert server.get("/healthz")[0] == 200
        assert server.get("/readyz")[0] == 503
        said = model(server)
        assert said["state"] == "training"
        assert said["training"]["outcome"] == "running"
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(server.url + "/v1/users/7/recommendations")
        with caught.value as refused:
            assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
            assert refused.headers["Content-Type"] == "application/problem+json"
        assert server.stop() == 0


def test_a_stop_ends_the_training(path: Path, state: Path, endless: Path) -> None:
    """The process that trains does not outlive its server, not even one that is killed."""
    with running_server(path, state, training_data=endless) as server:
        server.wait_until(lambda: workers(server))
        (worker,) = workers(server)
        server.process.kill()
        psutil.wait_procs([worker], timeout=20)
        assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


def test_a_file_that_arrives_wins(path: Path, state: Path, endless: Path) -> None:
    """It is served at once, and the training is stopped."""
    with running_server(path, state, training_data=endless) as server:
        server.wait_for("training")
        served = put(path, MODEL)
        server.wait_until_serving(served)
        server.wait_for("training_stopped")
        assert model(server)["state"] == "ready"
        assert model(server)["training"]["outcome"] == "stopped"
        assert workers(server) == []
    assert path.read_bytes() == MODEL


def test_a_good_file_is_never_trained_over(path: Path, state: Path, data: Path) -> None:
    """Where a usable model is found, no process trains."""
    served = put(path, MODEL)
    with running_server(path, state, training_data=data) as server:
        server.wait_until_serving(served)
        server.wait_for("initialized")
        assert model(server)["training"] is None
        assert "training" not in logged(server)


def test_a_snapshot_on_disk_is_good_enough(path: Path, state: Path, data: Path) -> None:
    """With the last good model in the state directory nothing is trained, though the file is gone."""
    served = put(path, MODEL)
    with running_server(path, state) as server:
        server.wait_until_serving(served)
    path.unlink()
    with running_server(path, state, training_data=data) as server:
        server.wait_for("stale")
        assert model(server)["model_version"] == served
        assert "training" not in logged(server)


def test_a_rejected_file_stays(path: Path, state: Path, data: Path) -> None:
    """Nothing overwrites it: the trained model is put beside it and served from there, until a good file comes."""
    put(path, b"no model at all")
    beside = path.with_name("als_model.trained.npz")
    with running_server(path, state, training_data=data) as server:
        server.wait_until_ready()
        assert server.wait_for("trained_elsewhere")["saved"] == str(beside)
        assert model(server)["state"] == "stale"
        assert model(server)["model_version"] == version(beside.read_bytes())
        assert path.read_bytes() == b"no model at all"
        server.wait_until_serving(put(path, MODEL))
        assert model(server)["state"] == "ready"


@pytest.mark.parametrize("options", ["size=4k", "ro"], ids=["full", "read-only"])
def test_a_volume_that_takes_nothing(path: Path, state: Path, data: Path, options: str) -> None:
    """Where the model's volume is full or read-only, the model goes to the state directory and is served from there."""
    with mounted("-t", "tmpfs", "-o", options, "tmpfs", str(path.parent)):
        if options != "ro":
            (path.parent / "full").write_bytes(b"x" * 4096)
        with running_server(path, state, training_data=data) as server:
            server.wait_until_ready()
            told = server.wait_for("trained_elsewhere")
            assert told["saved"] == str(state / "trained.npz")
            assert told["detail"].startswith(f"The model cannot be written to {path}: ")
            assert model(server)["state"] == "stale"
        assert len(list(path.parent.iterdir())) == (options != "ro")


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "cannot be read"), ("user_id,item_id\n", "no interactions"), ("a,b\n1,2\n", "the header lacks")],
    ids=["no data", "empty", "no such columns"],
)
def test_data_that_cannot_be_read(tmp_path: Path, path: Path, state: Path, content: str | None, why: str) -> None:
    """The server goes on without a model, says why, and takes a file when one comes."""
    if content is not None:
        (tmp_path / "data.csv").write_text(content)
    with running_server(path, state, training_data=tmp_path / "data.csv") as server:
        assert why in server.wait_for("training_failed")["detail"]
        server.wait_for("no_functions")
        said = model(server)
        assert said["state"] == "loading"
        assert said["training"]["outcome"] == "failed"
        assert why in said["training"]["detail"]
        assert server.get("/v1/users/7/recommendations")[0] == 503
        server.wait_until_serving(put(path, MODEL))


def test_bad_rows_do_not_prevent_a_start(path: Path, state: Path, data: Path) -> None:
    """They are left out, counted, and the first is named."""
    data.write_text(data.read_text() + "user-1\n,3\n")
    with running_server(path, state, training_data=data) as server:
        server.wait_until_ready()
        skipped = server.wait_for("skipped_rows")
        assert skipped["count"] == 2
        assert "line 152: there are 1 fields" in skipped["first"]


FATES = {"killed": "os.kill(os.getpid(), 9)", "out of memory": "raise MemoryError", "broken": "raise ZeroDivisionError"}


@pytest.fixture(params=FATES)
def doomed(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let every training process come to grief once it has read the data; return how."""
    in_training(tmp_path, monkeypatch, FATES[request.param])
    return str(request.param)


def test_a_training_that_fails_leaves_what_is_popular(path: Path, state: Path, data: Path, doomed: str) -> None:
    """If the data could be read, what is popular is served and said to be all, until a good file comes."""
    why = {"killed": "was killed by SIGKILL", "out of memory": "needs more memory", "broken": "failed with exit code 1"}
    with running_server(path, state, training_data=data) as server:
        server.wait_until_ready()
        assert why[doomed] in server.wait_for("training_failed")["detail"]
        server.wait_for("limited")
        said = model(server)
        assert (said["state"], said["factors"]) == ("limited", 0)
        assert server.get("/v1/users/user-3/recommendations?n=3")[1]["strategy"] == "popular"
        assert server.get("/v1/users/user-3/similar")[1]["code"] == "limited_model"
        assert not path.exists()
        server.wait_until_serving(put(path, MODEL))
        assert model(server)["state"] == "ready"


def test_a_limited_model_is_no_reason_not_to_train(
    path: Path, state: Path, data: Path, doomed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was popular at the last start does not keep the next one from training."""
    with running_server(path, state, training_data=data) as server:
        server.wait_for("limited")
    monkeypatch.undo()
    with running_server(path, state, training_data=data) as server:
        server.wait_for("initialized_trained")
        assert model(server)["state"] == "ready"


def in_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str) -> None:
    """Run these lines in every process that trains, before it works; ``child`` is its module."""
    in_child(tmp_path, monkeypatch, "service.children.training", lines)


def test_a_stop_while_the_model_is_written_leaves_nothing(
    path: Path, state: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a killed process had begun to write is gone."""
    in_worker(
        tmp_path, monkeypatch, "child._save_popularity = lambda *_: None\nchild.write_npz = lambda *_: time.sleep(3600)"
    )
    with running_server(path, state, training_data=data) as server:
        server.wait_until(lambda: (model(server)["training"] or {}).get("phase") == "saving")
        assert server.stop() == 0
    assert list(path.parent.iterdir()) == []
    assert [file.name for file in state.iterdir() if file.is_file()] == ["address.json"], "only where it listened"


@pytest.mark.parametrize(
    ("lines", "outcome"),
    [
        ("go = child.train\nchild.train = lambda *a, **k: print('a word', flush=True) or go(*a, **k)", "trained"),
        ("child.Progress = lambda *_: child.SkippedRows(0, 'x' * 70_000)", "failed"),
        ("child.msgspec.json.encode = lambda _: b'no message'", "failed"),
    ],
    ids=["a library prints", "a line without end", "no message"],
)
def test_whatever_the_process_says(
    path: Path, state: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, outcome: str
) -> None:
    """An invalid message neither ends a good training nor restarts a failed one."""
    in_worker(tmp_path, monkeypatch, lines)
    with running_server(path, state, training_data=data) as server:
        server.wait_until(lambda: model(server)["training"] and model(server)["training"]["outcome"] == outcome)
        server.wait_until_ready() if outcome == "trained" else server.wait_for("training_failed")
        assert logged(server).count("training") == 1


def test_the_process_that_trains_is_confined(path: Path, state: Path, tmp_path: Path, endless: Path) -> None:
    """Before it reads its data it gives up its user, if that is root, its privileges and its access to the server."""
    endless.chmod(0o600)
    tmp_path.chmod(0o700)
    with running_server(path, state, training_data=endless) as server:
        server.wait_until(lambda: (model(server)["training"] or {}).get("phase"))
        (worker,) = workers(server)
        said = Path(f"/proc/{worker.pid}/status").read_text()
        status = dict(re.split(r":\s*", line, maxsplit=1) for line in said.splitlines())
        limits = Path(f"/proc/{worker.pid}/limits").read_text()
        user = NOBODY if os.geteuid() == 0 else os.geteuid()
        assert status["Uid"].split() == [str(user)] * 4
        assert (status["NoNewPrivs"], status["CapEff"]) == ("1", "0" * 16)
        assert re.search(r"Max core file size +0 +0 ", limits)
        assert not re.search(r"Max file size +unlimited", limits)
        assert worker.cmdline()[-4:-1] == ["-I", "-u", "-m"]


def test_nothing_is_imported_once_the_process_is_confined(
    path: Path, state: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python itself may be out of reach by then, so a training does without it."""
    in_worker(
        tmp_path,
        monkeypatch,
        "confine = child.confine\nchild.confine = lambda *given: (confine(*given), sys.meta_path.clear())",
    )
    with running_server(path, state, training_data=data) as server:
        server.wait_for("initialized_trained")


def test_the_process_gives_way(path: Path, state: Path, endless: Path) -> None:
    """Requests have precedence, and should memory run out, it is the training that ends."""
    with running_server(path, state, training_data=endless) as server:
        server.wait_until(lambda: workers(server))
        (worker,) = workers(server)
        first_to_go = Path(f"/proc/{worker.pid}/oom_score_adj")
        server.wait_until(lambda: worker.nice() == 19 and first_to_go.read_text() == "1000\n")
