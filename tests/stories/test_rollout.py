"""A bad model that is a valid file: the server refuses it while it serves on, until a person accepts it."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from service.cli.main import main
from service.model.factors import Factors, Seen
from tests.observe.test_metrics import exposition
from tests.support.helpers import model_bytes, put, version
from tests.support.models import make_factors
from tests.support.running import RunningServer, running_server

FULL = dataclasses.replace(make_factors(users=1000, items=200, pairs=3000), user_ids=np.arange(1000))


def cut(share: float) -> Factors:
    """Return the model of the first users only."""
    users = int(share * len(FULL.user_ids))
    assert FULL.seen
    seen = dataclasses.replace(
        FULL.seen,
        indptr=FULL.seen.indptr[: users + 1],
        items=FULL.seen.items[: FULL.seen.indptr[users]],
        weights=FULL.seen.weights[: FULL.seen.indptr[users]],
    )
    return dataclasses.replace(FULL, user_ids=FULL.user_ids[:users], user_factors=FULL.user_factors[:users], seen=seen)


FULL_FILE, CUT_FILE = model_bytes(factors=FULL), model_bytes(factors=cut(0.01))


@contextmanager
def asked_throughout(server: RunningServer) -> Iterator[list[tuple[int, str]]]:
    """Ask for recommendations all the time, for the length of a block; yield each status and version."""
    answers: list[tuple[int, str]] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            status, body = server.get("/v1/users/5/recommendations")
            answers.append((status, body.get("model_version", "")))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield answers
    finally:
        done.set()
        asking.join()


def accept(beginning: str, state: Path) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, ["accept", beginning, "--state-dir", str(state)])


@pytest.mark.parametrize("workers", [1, 2])
def test_a_model_with_a_hundredth_of_its_users(tmp_path: Path, workers: int) -> None:
    """It is refused, and served once it was accepted: no request fails, and no restart is needed."""
    path, state = tmp_path / "model.npz", tmp_path / "state"
    served = put(path, FULL_FILE)
    with running_server(path, state, workers=workers) as server:
        server.wait_until_ready()
        with asked_throughout(server) as answers:
            refused = put(path, CUT_FILE)
            server.wait_for("rejected", reason="gate_counts")
            server.wait_until(lambda: server.get("/v1/model")[1]["state"] == "stale")  # workers follow soon
            described = server.get("/v1/model")[1]
            assert described["model_version"] == served
            assert described["last_reload"]["gates"][0] == {
                "gate": "counts",
                "result": "blocked",
                "value": 0.01,
                "limit": 0.5,
                "detail": "it has 10 users, less than 50% of the 1000 of the served model",
            }
            assert f"als-serve accept {refused} lets it in" in described["last_reload"]["detail"]
            before = len(answers)
            assert accept(refused[:6], state).exit_code == 0
            server.wait_for("swapped", model_version=refused)
            server.wait_until(lambda: answers[-1][1] == refused)
        assert before > 0
        assert {status for status, _ in answers} == {200}
        assert {version for _, version in answers} == {served, refused}


FEW_USERS = model_bytes(factors=cut(0.1))
FEW_ITEMS = model_bytes(
    factors=dataclasses.replace(FULL, item_ids=FULL.item_ids[:20], item_factors=FULL.item_factors[:20], seen=None)
)
OTHER_SCORES = model_bytes(factors=dataclasses.replace(FULL, item_factors=10 * FULL.item_factors))
OTHER_ITEMS = model_bytes(
    factors=dataclasses.replace(FULL, item_factors=np.random.default_rng(7).permutation(FULL.item_factors))
)


@pytest.mark.parametrize(
    ("gate", "content"),
    [("counts", FEW_USERS), ("counts", FEW_ITEMS), ("scores", OTHER_SCORES), ("overlap", OTHER_ITEMS)],
    ids=["users", "items", "scores", "overlap"],
)
def test_a_model_that_differs_too_much(tmp_path: Path, gate: str, content: bytes) -> None:
    """Faults 19 and 20, with gates that block: it is kept out, which is counted and described, and no request fails.

    Once it is accepted, it is served.
    """
    path, state = tmp_path / "model.npz", tmp_path / "state"
    served = put(path, FULL_FILE)
    with running_server(path, state, gate_scores="block", gate_overlap="block") as server:
        server.wait_until_serving(served)
        with asked_throughout(server) as answers:
            differs = put(path, content)
            server.wait_for("still_serving")
            described = server.get("/v1/model")[1]
            assert (described["model_version"], described["state"]) == (served, "stale")
            assert described["last_reload"]["reason"] == f"gate_{gate}"
            assert set(exposition(server).splitlines()) >= {
                "als_model_last_reload_successful 0.0",
                f'als_model_reloads_total{{outcome="rejected",reason="gate_{gate}"}} 1.0',
                f'als_gate_blocks{{gate="{gate}"}} 1.0',
            }
            assert accept(differs, state).exit_code == 0
            server.wait_until_serving(differs)
            server.wait_until(lambda: f'als_gate_blocks{{gate="{gate}"}} 0.0' in exposition(server))
        assert {status for status, _ in answers} == {200}


@pytest.mark.parametrize(("gate", "content"), [("scores", OTHER_SCORES), ("overlap", OTHER_ITEMS)])
def test_a_model_that_differs_is_served_with_a_warning(tmp_path: Path, gate: str, content: bytes) -> None:
    """Fault 20, by default: a drift of scores or of top items is logged and counted, and the model is served."""
    path = tmp_path / "model.npz"
    served = put(path, FULL_FILE)
    with running_server(path, tmp_path / "state") as server:
        server.wait_until_serving(served)
        with asked_throughout(server) as answers:
            differs = put(path, content)
            server.wait_until_serving(differs)
            server.wait_for("gate_warned", gate=gate, model_version=differs)
            assert f'als_gate_results_total{{gate="{gate}",result="warned"}} 1.0' in exposition(server)
        assert {status for status, _ in answers} == {200}


def had_everything() -> Factors:
    """Return a model all of whose users had all items, so that every list is empty."""
    users, items = FULL.user_factors.shape[0], FULL.item_factors.shape[0]
    seen = Seen(
        np.arange(0, users * items + 1, items),
        np.tile(np.arange(items, dtype=np.int32), users),
        np.ones(users * items, np.float32),
    )
    return dataclasses.replace(FULL, seen=seen)


EMPTY_FILE = model_bytes(factors=had_everything())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_model_that_answers_with_nothing(tmp_path: Path, workers: int) -> None:
    """The one before it is back without an import, and stays through changes and restarts until a person decides."""
    path, state = tmp_path / "model.npz", tmp_path / "state"
    good = put(path, FULL_FILE)
    with running_server(path, state, workers=workers, keep_snapshots=1) as server:
        server.wait_until_ready()
        with asked_throughout(server) as answers:
            server.wait_until(lambda: len(answers) > 400)
            empty = put(path, EMPTY_FILE)
            server.wait_for("rejected", reason="quarantined")
            server.wait_until(lambda: answers[-1][1] == good)
            described = server.get("/v1/model")[1]
            assert (described["model_version"], described["state"]) == (good, "stale")
            last = described["last_reload"]
            assert (last["outcome"], last["reason"], last["version"]) == ("rejected", "quarantined", empty)
            assert f"als-serve accept {empty} serves it again" in last["detail"]
            assert "of its answers were empty or failures, instead of 0.0%" in last["detail"]
            put(path, EMPTY_FILE)  # another file with the same content
            server.wait_until(lambda: rejections(server) == 2)
        assert {status for status, _ in answers} == {200}
        versions = [version for version, _ in groupby(version for _, version in answers)]
        if workers == 1:
            assert versions in ([good, empty, good], [good])
        else:  # one worker takes a change a little sooner than the other
            assert {*versions} <= {good, empty}
            assert (versions[0], versions[-1]) == (good, good)
        assert len([event for event in server.events if event["event"] == "swapped"]) == 1
        assert "housekeeping_failed" not in [event["event"] for event in server.events]
    with running_server(path, state, workers=workers, keep_snapshots=1) as server:
        server.wait_for("rejected", reason="quarantined")
        server.wait_until(lambda: server.get("/v1/model")[1]["state"] == "stale")
        assert server.get("/v1/model")[1]["model_version"] == good
        assert accept(empty, state).exit_code == 0
        server.wait_until_serving(empty)


def rejections(server: RunningServer) -> int:
    """Return how often a file was rejected because its model is quarantined."""
    return len([event for event in server.events if event.get("reason") == "quarantined"])


def test_accepting(tmp_path: Path) -> None:
    """A few digits are enough if they are unique; twice is as good as once; an unknown version has to be whole."""
    path, state = tmp_path / "model.npz", tmp_path / "state"
    served = put(path, FULL_FILE)
    with running_server(path, state) as server:
        server.wait_until_ready()
    first = accept(served[:4], state)
    assert (first.exit_code, first.stdout) == (0, f"✅ Accepted model {served}: nothing keeps it out any more\n")
    assert accept(served, state).stdout == f"💤 Model {served} was accepted before\n"
    unknown = accept("0123456789abcdef", state)
    assert unknown.exit_code == 0
    assert (
        f"⚠️ {state} has no such model yet: it is let in once it arrives. Is that your server's --state-dir?"
        in unknown.stdout
    )
    for beginning, sentence in {
        "f" * 15: f"Error: No model kept in {state} begins with {'f' * 15}; kept: {served}.",
        "model.npz": "Error: 'model.npz' is not a model version: 16 hex digits, or the first few.",
        "../secret": "Error: '../secret' is not a model version",
        "": "Error: '' is not a model version",
    }.items():
        wrong = accept(beginning, state)
        assert wrong.exit_code == 1
        assert sentence in wrong.output
    assert version(FULL_FILE) == served


def test_a_state_directory_that_cannot_be_written(tmp_path: Path) -> None:
    """One sentence says so."""
    (tmp_path / "state").write_text("not a directory")
    result = accept("0123456789abcdef", tmp_path / "state")
    assert result.exit_code == 1
    assert "cannot be used" in result.output
