"""Both jobs on a real Spark cluster, from interactions to answers. `make test-spark` runs it, and `make test` does not.

A master and two workers take some seconds to start and each job some more, so the tests share a cluster and a model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from service.cli.main import main
from tests.support import ROOT
from tests.support.cluster import Cluster, Job, Worker, running_cluster
from tests.support.running import RunningServer, running_server
from tests.support.seaweed import Seaweed
from tests.support.spark import factors_of
from tests.support.waiting import until

pytestmark = pytest.mark.cluster

TRAIN, RECOMMEND = ROOT / "ops/spark/train.py", ROOT / "ops/spark/recommend.py"
USERS, ITEMS, PER_USER = 1000, 200, 12


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Return a master without workers."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def workers(cluster: Cluster) -> list[Worker]:
    """Return two workers; a test that kills one adds another."""
    return [cluster.add_worker(), cluster.add_worker()]


@pytest.fixture(scope="module")
def interactions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a table of interactions, in which some items are popular."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "interactions.csv"
    items = (ITEMS * rng.random((USERS, PER_USER)) ** 2).astype(int)
    rows = [f"user-{user},item-{item}\n" for user, chosen in enumerate(items.tolist()) for item in chosen]
    path.write_text("user_id,item_id\n" + "".join(rows))
    return path


def train(cluster: Cluster, interactions: Path, out: Path) -> Job:
    """Submit the training job."""
    size = ("--rank", 8, "--iterations", 20, "--blocks", 2)
    return cluster.submit(out.name, TRAIN, "--data", interactions, "--out", out, *size)


@pytest.fixture(scope="module")
def trained(
    cluster: Cluster, workers: list[Worker], interactions: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return what the training job wrote."""
    out = tmp_path_factory.mktemp("jobs") / "trained"
    train(cluster, interactions, out).finish()
    return out


def run(*arguments: object) -> None:
    """Run a command in this process."""
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output


def list_of(server: RunningServer, user: str, n: int) -> dict[str, Any]:
    """Ask the server for a list, as a row has it."""
    status, body = server.get(f"/v1/users/{quote(user)}/recommendations?n={n}")
    assert status == 200
    scored = [{"item_id": each["item_id"], "score": float(np.float32(each["score"]))} for each in body["items"]]
    return {"user_id": user, "strategy": body["strategy"], "items": scored}


def test_what_the_cluster_trains_is_published_and_served(
    trained: Path, seaweed: Seaweed, plain_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that follows the bucket answers every user by factors, and with nothing that the user had."""
    for name, value in seaweed.environment().items():
        monkeypatch.setenv(name, value)
    uri = f"s3://{plain_bucket}/spark/"
    run("publish", trained, uri)
    seen = pq.read_table(trained / "seen")
    with running_server(tmp_path / "m.npz", tmp_path / "state", s3_uri=uri) as server:
        server.wait_until_ready()
        _, model = server.get("/v1/model")
        answers = [list_of(server, f"user-{user}", 10) for user in range(0, USERS, 100)]
    assert (model["users"], model["seen_pairs"]) == (USERS, len(seen))
    assert {answer["strategy"] for answer in answers} == {"als"}
    labels = {label: number for number, label in zip(*columns(trained / "item_labels", "id", "label"), strict=True)}
    users = {label: number for number, label in zip(*columns(trained / "user_labels", "id", "label"), strict=True)}
    pairs = set(zip(*columns(trained / "seen", "user", "item"), strict=True))
    given = {(users[answer["user_id"]], labels[item["item_id"]]) for answer in answers for item in answer["items"]}
    assert len(given) == 100
    assert not given & pairs


def columns(directory: Path, *names: str) -> list[list[Any]]:
    """Read columns of a directory of Parquet."""
    table = pq.read_table(directory)
    return [table.column(name).to_pylist() for name in names]


def test_the_lists_of_the_cluster_are_those_of_a_server(cluster: Cluster, trained: Path, tmp_path: Path) -> None:
    """Of all users: ids, strategies, scores and order are the same as over HTTP."""
    model, out = tmp_path / "m.npz", tmp_path / "lists"
    run("convert", trained, model)
    cluster.submit("recommend", RECOMMEND, "--model", model, "--out", out, "-n", 20, "--partitions", 4).finish()
    found = {row["user_id"]: row for row in pq.read_table(out).to_pylist()}
    assert len(found) == USERS
    with running_server(model, tmp_path / "state") as server:
        server.wait_until_ready()
        assert found == {user: list_of(server, user, 20) for user in found}


def test_a_worker_lost_in_training_changes_nothing(
    cluster: Cluster, workers: list[Worker], trained: Path, interactions: Path, tmp_path: Path
) -> None:
    """Killed with its executor when half of the iterations are done: the job goes on, and the model is the same."""
    out = tmp_path / "disturbed"
    job = train(cluster, interactions, out)
    # Spark writes a checkpoint after ten iterations.
    until(lambda: job.process.poll() is not None or [*out.glob("_work/checkpoints/*/rdd-*")], job.said, 600)
    workers.pop().kill()
    assert not (out / "model").exists()
    job.finish()
    workers.append(cluster.add_worker())
    assert "Lost executor" in job.log.read_text()
    for side in ("userFactors", "itemFactors"):
        expected, found = factors_of(trained / "model" / side), factors_of(out / "model" / side)
        assert expected.keys() == found.keys()
        np.testing.assert_allclose([found[key] for key in expected], [*expected.values()], rtol=1e-3, atol=1e-5)
    facts = [json.loads(next(each.glob("facts/part-*")).read_text()) for each in (trained, out)]
    assert [fact["pairs"] for fact in facts] == [facts[0]["pairs"]] * 2
