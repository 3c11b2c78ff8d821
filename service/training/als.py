"""Train ALS on interactions with implicit, and write what it learnt as a model file."""

from __future__ import annotations

import os
import pickle
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from implicit.recommender_base import ModelFitError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from service.errors import TrainingError
from service.model.factors import Float32, Id
from service.model.snapshot import sync_directory
from service.training.interactions import Interactions


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """What ALS learnt, as implicit holds it, and what it learnt it from; rows are those of the interactions."""

    als: AlternatingLeastSquares
    interactions: Interactions

    @property
    def user_factors(self) -> Float32:
        """Return float32 [users, factors]."""
        return np.asarray(self.als.user_factors, np.float32)

    @property
    def item_factors(self) -> Float32:
        """Return float32 [items, factors]."""
        return np.asarray(self.als.item_factors, np.float32)


def train(
    interactions: Interactions,
    *,
    factors: int = 32,
    regularization: float = 0.05,
    alpha: float = 4.0,
    iterations: int = 15,
    seed: int = 0,
    progress: bool = False,
) -> TrainedModel:
    """Factorize the weights; the same interactions and numbers give the same factors.

    The confidence that a user likes an item is ``alpha`` times its weight, and 1 where they never met
    (Hu, Koren, Volinsky: Collaborative Filtering for Implicit Feedback Datasets, 2008). Every iteration
    solves for all users and then for all items. Raises TrainingError where the factors are no numbers.
    """
    als = AlternatingLeastSquares(
        factors=factors, regularization=regularization, alpha=alpha, iterations=iterations, random_state=seed
    )
    try:
        with _progress_bar(iterations, visible=progress) as advance:
            als.fit(interactions.weights, show_progress=False, callback=advance)
    except ModelFitError as error:
        raise TrainingError(
            f"Training gave factors that are not finite: weights this large (the largest is "
            f"{interactions.weights.max():g}) need a smaller alpha than {alpha:g}."
        ) from error
    return TrainedModel(als, interactions)


@contextmanager
def _progress_bar(iterations: int, *, visible: bool) -> Iterator[Callable[[int, float, object], None]]:
    """Yield what implicit calls after each iteration."""
    columns = (TextColumn("🧮 Training ALS"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, disable=not visible) as bar:
        task = bar.add_task("", total=iterations)
        yield lambda _iteration, _seconds, _loss: bar.advance(task)


def save_npz(model: TrainedModel, path: Path) -> None:
    """Write the safe format, plain arrays; the path has the old file until it has all of this one.

    The same model gives the same bytes, so training again on unchanged data changes nothing for a server.
    Raises TrainingError.
    """
    seen = model.interactions.weights
    with _replacing(path) as file:
        np.savez(
            file,
            allow_pickle=False,
            user_factors=model.user_factors,
            item_factors=model.item_factors,
            user_ids=model.interactions.user_ids,
            item_ids=model.interactions.item_ids,
            seen_indptr=seen.indptr.astype(np.int64),
            seen_indices=seen.indices.astype(np.int32),
            seen_weights=seen.data,
            regularization=np.float64(model.als.regularization),
            alpha=np.float64(model.als.alpha),
        )


def save_pickle(model: TrainedModel, path: Path) -> None:
    """Write the pickle that is read in place of npz: implicit's model, the id maps both ways, the matrix.

    As for :func:`save_npz`, the path never has half a file. Raises TrainingError.
    """
    users: list[Id] = model.interactions.user_ids.tolist()
    items: list[Id] = model.interactions.item_ids.tolist()
    components = {
        "model": model.als,
        "user_id_map": dict(enumerate(users)),
        "product_id_map": dict(enumerate(items)),
        "reverse_user_id_map": {user: row for row, user in enumerate(users)},
        "reverse_product_id_map": {item: row for row, item in enumerate(items)},
        "sparse_matrix": model.interactions.weights,
    }
    with _replacing(path) as file:
        pickle.dump(components, file)


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Write beside the path, onto the disk, and rename over it: nobody ever reads a half file."""
    # Not tempfile: its files are closed to every other user, and the server may well be one.
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise TrainingError(f"The model cannot be written to {path}: {error.strerror}.") from error
    finally:
        beside.unlink(missing_ok=True)
