"""Real data from end to end: train on Gowalla's check-ins, serve both file forms, compare with implicit itself.

    python -m tests.benchmarks.gowalla TRAIN_CSV_GZ --out DIR [--factors 64 --iterations 15 ...]

The data is the split that papers on graph recommenders use (columns user_id, item_id). A real server is asked
over HTTP for the top items of some hundreds of users, from the pickle and from the npz, and each answer is held
against ``model.recommend(filter_already_liked_items=True)``. Two items whose scores differ by no more than
rounding may stand in either order; anything else is a difference. Exits with 1 if there is one.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from service.cli.progress import bars
from service.model.factors import Float32, Int32, Int64
from service.model.facts import TrainingFacts
from service.training.als import TrainedModel, train
from service.training.interactions import read_interactions
from service.training.model_files import facts_of, save_npz, save_pickle
from service.training.plan import Plan
from tests.support.running import RunningServer, running_server

ROUNDING = 2e-6  # of float32 sums over some hundred factors, for scores around 1
FORMS: dict[str, Callable[[TrainedModel, TrainingFacts, Path], None]] = {
    "gowalla.pkl": save_pickle,
    "gowalla.npz": save_npz,
}


class Compared(NamedTuple):
    """How one user's answer stands to implicit's, and the largest difference of scores at the same place."""

    verdict: str  # "identical", "equal scores swapped" or "different"
    difference: float


def main() -> None:
    """Run the benchmark."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    model = _train(options)
    users = np.random.default_rng(options.seed).permutation(len(model.interactions.user_ids))[: options.users]
    same = [_serve_and_compare(model, name, users, options) for name in FORMS]
    sys.exit(0 if all(same) else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="where the models and the state are written")
    for name, default in (("factors", 64), ("iterations", 15), ("users", 500), ("n", 20), ("seed", 0)):
        parser.add_argument("--" + name, type=int, default=default)
    for name, parameter in (("regularization", 0.01), ("alpha", 10.0)):
        parser.add_argument("--" + name, type=float, default=parameter)
    return parser.parse_args()


def _train(options: argparse.Namespace) -> TrainedModel:
    started = time.perf_counter()
    interactions = read_interactions([options.train])
    users, items = interactions.weights.shape
    read = time.perf_counter()
    print(f"read: {users} users, {items} items, {interactions.weights.nnz} pairs in {read - started:.1f} s")
    plan = Plan(
        factors=options.factors,
        regularization=options.regularization,
        alpha=options.alpha,
        popularity_discount=0.0,
        activity_discount=0.0,
        iterations=options.iterations,
        seed=options.seed,
    )
    with bars() as report:
        model = train(interactions, plan, report=report)
    print(f"trained: {options.factors} factors, {options.iterations} iterations in {time.perf_counter() - read:.1f} s")
    return model


def _serve_and_compare(model: TrainedModel, name: str, users: Int64, options: argparse.Namespace) -> bool:
    path = options.out / name
    FORMS[name](model, facts_of(model, [options.train], None, {}), path)
    started = time.perf_counter()
    with running_server(path, options.out / f"{name}.state") as server:
        server.wait_until_ready()
        print(f"{name}: {path.stat().st_size} bytes, ready {time.perf_counter() - started:.1f} s after exec")
        compared = [_compare(model, int(user), _ask(server, model, int(user), options.n), options.n) for user in users]
    verdicts = Counter(one.verdict for one in compared)
    counted = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
    largest = max(one.difference for one in compared)
    print(f"{name}: top {options.n} of {len(users)} users: {counted}; largest difference of a score {largest:.1e}")
    return not verdicts["different"]


def _ask(server: RunningServer, model: TrainedModel, user: int, n: int) -> list[dict[str, Any]]:
    user_id = model.interactions.user_ids[user].item()
    with urllib.request.urlopen(f"{server.url}/v1/users/{user_id}/recommendations?n={n}", timeout=30) as answer:
        body = json.load(answer)
    assert (body["user_id"], body["strategy"]) == (user_id, "als")
    items: list[dict[str, Any]] = body["items"]
    return items


def _compare(model: TrainedModel, user: int, answer: list[dict[str, Any]], n: int) -> Compared:
    rows, scores = model.als.recommend(user, model.interactions.weights[user], N=n, filter_already_liked_items=True)
    served_ids = np.array([item["item_id"] for item in answer])
    served_scores = np.array([item["score"] for item in answer], np.float32)
    if len(answer) != len(rows):
        return Compared("different", float("inf"))
    difference = float(np.abs(served_scores - scores).max())
    expected_ids = model.interactions.item_ids[rows]
    if difference > ROUNDING:
        return Compared("different", difference)
    if np.array_equal(served_ids, expected_ids):
        return Compared("identical", difference)
    tied = _scored_as_said(model, user, served_ids, served_scores)
    return Compared("equal scores swapped" if tied else "different", difference)


def _scored_as_said(model: TrainedModel, user: int, item_ids: Int32, scores: Float32) -> bool:
    """Say whether these are distinct unseen items that the model itself gives these scores."""
    rows = np.searchsorted(model.interactions.item_ids, item_ids)
    unseen = not np.isin(rows, model.interactions.weights[user].indices).any()
    own = model.item_factors[rows] @ model.user_factors[user]
    known = np.array_equal(model.interactions.item_ids[rows], item_ids)
    return known and unseen and len(set(rows)) == len(rows) and bool(np.abs(own - scores).max() <= ROUNDING)


if __name__ == "__main__":
    main()
