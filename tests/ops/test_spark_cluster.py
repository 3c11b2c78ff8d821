"""Both jobs on a real Spark cluster, from interactions to answers. `make test-spark` runs it, and `make test` does not.

A master and two workers take some seconds to start and each job some more, so the tests share a cluster and a model.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from service.cli.main import main
from tests.support import ROOT
from tests.support.cluster import Cluster, Job, Worker, running_cluster
from tests.support.running import RunningServer, running_server
from tests.support.seaweed import Seaweed
from tests.support.spark import factors_of
from tests.support.waiting import until

pytestmark = pytest.mark.cluster

TRAIN, RECOMMEND = ROOT / "ops/spark/train.py", ROOT / "ops/spark/recommend.py"
USERS, ITEMS, PER_USER, K = 1000, 200, 12, 20


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Return a master without workers."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def workers(cluster: Cluster) -> list[Worker]:
    """Return two workers; a test that kills one adds another."""
    return [cluster.add_worker(), cluster.add_worker()]


def write_interactions(path: Path, items: NDArray[np.int64]) -> Path:
    """Write a row of items for each user."""
    rows = [f"user-{user},item-{item}\n" for user, chosen in enumerate(items.tolist()) for item in chosen]
    path.write_text("user_id,item_id\n" + "".join(rows))
    return path


@pytest.fixture(scope="module")
def interactions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a table of interactions, in which some items are popular, and some users had more than others."""
    items = (ITEMS * np.random.default_rng(0).random((USERS, PER_USER)) ** 2).astype(int)
    items[::3, 3:] = items[::3, :1]
    return write_interactions(tmp_path_factory.mktemp("data") / "interactions.csv", items)


@pytest.fixture(scope="module")
def held_out(interactions: Path) -> Path:
    """Return a table of other interactions, with users and items that are not in the first, and pairs that are."""
    items = (1.1 * ITEMS * np.random.default_rng(1).random((USERS + 9, 4)) ** 2).astype(int)
    return write_interactions(interactions.with_name("test.csv"), items)


def train(cluster: Cluster, interactions: Path, out: Path, *options: object, iterations: int = 20) -> Job:
    """Submit the training job."""
    size = ("--rank", 8, "--iterations", iterations, "--blocks", 2)
    return cluster.submit(out.name, TRAIN, "--data", interactions, "--out", out, *size, *options)


def facts_of(out: Path) -> dict[str, Any]:
    """Return what a training job says about itself."""
    facts: dict[str, Any] = json.loads(next(out.glob("facts/part-*")).read_text())
    return facts


@pytest.fixture(scope="module")
def trained(
    cluster: Cluster,
    workers: list[Worker],
    interactions: Path,
    held_out: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return what the training job wrote."""
    out = tmp_path_factory.mktemp("jobs") / "trained"
    train(cluster, interactions, out, "--test", held_out, "-k", K).finish()
    return out


def run(*arguments: object) -> str:
    """Run a command in this process, and return what it prints."""
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.stdout


def list_of(server: RunningServer, user: str, n: int, text: str = "") -> dict[str, Any]:
    """Ask the server for a list, as a row has it."""
    status, body = server.get(f"/v1/users/{quote(user)}/recommendations?n={n}&filter={quote(text)}")
    assert status == 200
    scored = [{"item_id": each["item_id"], "score": float(np.float32(each["score"]))} for each in body["items"]]
    return {"user_id": user, "strategy": body["strategy"], "items": scored}


def test_what_the_cluster_trains_is_published_and_served(
    interactions: Path,
    trained: Path,
    seaweed: Seaweed,
    plain_bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that follows the bucket answers users by factors, with nothing that they had."""
    for name, value in seaweed.environment().items():
        monkeypatch.setenv(name, value)
    uri = f"s3://{plain_bucket}/spark/"
    run("publish", trained, uri)
    with running_server(tmp_path / "m.npz", tmp_path / "state", s3_uri=uri) as server:
        server.wait_until_ready()
        _, model = server.get("/v1/model")
        answers = [list_of(server, f"user-{user}", 10) for user in range(0, USERS, 100)]
    pairs = set(map(tuple, csv.reader(interactions.read_text().splitlines()[1:])))
    assert (model["users"], model["items"]) == tuple(len(set(ids)) for ids in zip(*pairs, strict=True))
    assert model["seen_pairs"] == len(pairs)
    assert {answer["strategy"] for answer in answers} == {"als"}
    given = {(answer["user_id"], item["item_id"]) for answer in answers for item in answer["items"]}
    assert len(given) == 100
    assert not given & pairs


def test_the_cluster_evaluates_as_the_command_does(trained: Path, held_out: Path, tmp_path: Path) -> None:
    """Recall and NDCG are those of als-serve evaluate: unknown items are misses, and seen pairs do not count."""
    model = tmp_path / "m.npz"
    run("convert", trained, model)
    options = ("--model-path", model, "--state-dir", tmp_path / "state", "-k", K)
    expected = json.loads(run("evaluate", "--test", held_out, *options, "--json"))
    found = facts_of(trained)["evaluation"]
    assert 0 < expected["unknown_pairs"] < expected["pairs"]
    assert found == {
        "k": K,
        "users": expected["users"],
        "sampled_of": expected["users"],
        "pairs": expected["pairs"],
        "recall": pytest.approx(expected["als"]["recall"], rel=1e-3),
        "ndcg": pytest.approx(expected["als"]["ndcg"], rel=1e-3),
    }


def test_the_lists_of_the_cluster_are_those_of_a_server(cluster: Cluster, trained: Path, tmp_path: Path) -> None:
    """Of all users but a hidden one, with a filter: ids, strategies, scores and order are those over HTTP."""
    model, out, items, hidden = (tmp_path / name for name in ("m.npz", "lists", "items.csv", "hidden.txt"))
    run("convert", trained, model)
    items.write_text("id,price,available\n" + "".join(f"item-{n},{n},{n % 5 > 0}\n" for n in range(ITEMS)))
    hidden.write_text("user-7\n")
    policy, text = ("--items", items, "--hidden-users", hidden), "price > 20 AND price < 150"
    options = ("-n", 20, "--partitions", 4, *policy, "--filter", text)
    cluster.submit("recommend", RECOMMEND, "--model", model, "--out", out, *options).finish()
    found = {row["user_id"]: row for row in pq.read_table(out).to_pylist()}
    assert len(found) == USERS - 1
    with running_server(model, tmp_path / "state", items=items, hidden_users=hidden) as server:
        server.wait_until_ready()
        assert found == {user: list_of(server, user, 20, text) for user in found}
    given = {item["item_id"] for row in found.values() for item in row["items"]}
    assert given <= {f"item-{n}" for n in range(21, 150) if n % 5}


@pytest.fixture(scope="module")
def disturbed(
    cluster: Cluster,
    workers: list[Worker],
    trained: Path,
    interactions: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return what the job wrote when it had evaluated first and then lost a worker, half of the iterations done."""
    out = tmp_path_factory.mktemp("jobs") / "disturbed"
    job = train(cluster, interactions, out, "--evaluate", "--sample", 500)

    def checkpoints() -> set[Path]:
        return set(out.glob("_work/checkpoints/*/rdd-*"))

    def happened(what: Callable[[], object]) -> None:
        until(lambda: job.process.poll() is not None or what(), job.said, 600)

    happened((out / "item_weights/_SUCCESS").exists)
    of_evaluation = checkpoints()
    happened(lambda: checkpoints() - of_evaluation)  # Spark writes one after ten iterations.
    workers.pop().kill()
    assert not (out / "model").exists()
    job.finish()
    workers.append(cluster.add_worker())
    assert "Lost executor" in job.log.read_text()
    return out


def test_a_worker_lost_in_training_changes_nothing(trained: Path, disturbed: Path) -> None:
    """Killed with its executor in the middle: the job goes on, and the model is the same."""
    for side in ("userFactors", "itemFactors"):
        expected, found = factors_of(trained / "model" / side), factors_of(disturbed / "model" / side)
        assert expected.keys() == found.keys()
        np.testing.assert_allclose([found[key] for key in expected], [*expected.values()], rtol=1e-3, atol=1e-5)


def test_an_evaluation_holds_out_a_fifth(interactions: Path, disturbed: Path) -> None:
    """Of each user's pairs, rounded down; at most so many users are evaluated, and the model has learned all pairs."""
    pairs = set(map(tuple, csv.reader(interactions.read_text().splitlines()[1:])))
    held_out = [count // 5 for count in Counter(user for user, _ in pairs).values() if count >= 5]
    facts = facts_of(disturbed)
    found = facts["evaluation"]
    assert (facts["pairs"], found["users"], found["sampled_of"]) == (len(pairs), 500, len(held_out))
    assert 500 <= found["pairs"] < sum(held_out)
    # By chance, 20 of 200 items would have a tenth of them; but these items are those that many users had.
    assert 0.15 < found["recall"] < 0.9
    assert 0 < found["ndcg"] < found["recall"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with odd tables: weights that say nothing, no users, and CSV files without a name for it."""
    directory = tmp_path_factory.mktemp("small")
    weights = ["2", "3", "many", "NaN", "Infinity", "-1", "0", ""]
    places = [(user, number) for user in range(9) for number in range(8)]
    rows = [f"{user},item.{(user + number) % 8},{weights[number]}\n" for user, number in places]
    (directory / "weights.csv").write_text("the user,item.id,weight\n" + "".join(rows))
    (directory / "test.csv").write_text("the user,item.id,weight\nnobody,item.1,1\n")
    (directory / "empty.csv").write_text("user_id,item_id\n,1\n")
    (directory / "parts").mkdir()
    (directory / "parts/first.csv").write_text("user_id,item_id\n1,1\n")
    return directory


@pytest.fixture(scope="module")
def said(cluster: Cluster, small: Path) -> list[str]:
    """Return what jobs say at their end, of which only the first can do its work."""
    columns = ("--user", "the user", "--item", "item.id", "--weight", "weight", "--rank", 8, "--iterations", 1)
    weights, out = small / "weights.csv", small / "out"
    jobs: list[tuple[object, ...]] = [
        ("train", "--data", weights, "--out", small / "weighed", *columns, "--test", small / "test.csv"),
        ("train", "--data", weights, "--out", out),
        ("train", "--data", small / "parts", "--out", out),
        ("train", "--data", small / "empty.csv", "--out", out),
        ("train", "--data", weights, "--out", small),
        ("recommend", "--model", out, "--out", small),
        ("recommend", "--model", weights, "--out", small),
    ]
    given = json.dumps([list(map(str, job)) for job in jobs])
    job = cluster.submit("jobs", ROOT / "tests/support/spark_jobs.py", given, alone=True)
    job.finish()
    return re.findall("^Error: (.+)$", job.log.read_text(), re.MULTILINE)


def test_rows_that_say_nothing_are_left_out(said: list[str], small: Path, tmp_path: Path) -> None:
    """Rows whose weight is not a positive number; and a test of strangers measures nothing, but the model is saved."""
    assert "9 users × 8 items × 8 factors, seen 18 pairs" in run("convert", small / "weighed", tmp_path / "m.npz")
    nothing = {"k": 20, "users": 0, "sampled_of": 0, "pairs": 0, "recall": None, "ndcg": None}
    assert facts_of(small / "weighed")["evaluation"] == nothing


def test_what_a_job_cannot_do_is_a_sentence(said: list[str], small: Path) -> None:
    """Before any work; the output does not exist, so that the next attempt can have it."""
    column, form, empty, existing, missing, also_existing = said
    assert "`user_id`" in column
    assert f"{small}/parts cannot be read as Parquet" in form
    assert empty.startswith(f"{small}/empty.csv has no row with a user")
    assert existing == also_existing == f"{small} already exists; name another directory, or remove it."
    assert missing == f"There is no file at {small}/out."
    assert not (small / "out").exists()


def test_a_refusal_ends_the_job(cluster: Cluster, small: Path) -> None:
    """With a status other than 0, and with no stack of Python or Java."""
    job = cluster.submit("recommend", RECOMMEND, "--model", small / "missing.npz", "--out", small / "out", alone=True)
    assert job.refusal() == f"There is no file at {small}/missing.npz."
