"""Writing a trained model as a model file: npz or pickle."""

from __future__ import annotations

import os
import pickle
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from service.errors import TrainingError
from service.model.factors import Id
from service.model.facts import Evaluation, TrainingData, TrainingFacts, encode_facts
from service.model.formats.table import UNRECOGNIZED, format_of
from service.model.storage.source import written_model
from service.training.als import TrainedModel
from service.training.interactions import Interactions
from service.untrusted import escaped

_LIBRARIES = ("als-serve", "implicit", "numpy", "scipy", "pyarrow")
# Imported now, because a confined training process cannot read installed packages later.
_VERSIONS = {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}


def prove_target(path: Path) -> None:
    """Raise TrainingError, before the training, if the model cannot be written or would replace a non-model."""
    if not path.parent.is_dir():
        raise TrainingError(f"The model cannot be written to {path}: there is no directory {path.parent}.")
    if not os.access(path.parent, os.W_OK):
        raise TrainingError(f"The model cannot be written to {path}: {path.parent} is not writable.")
    if path.exists() and format_of(path) == UNRECOGNIZED:
        raise TrainingError(f"{path} is not a model and would be overwritten; name another path with --model-path.")


def facts_of(
    model: TrainedModel, files: Sequence[Path], evaluation: Evaluation | None, seconds: dict[str, float]
) -> TrainingFacts:
    """Collect the facts stored with a model; ``seconds`` are those of the other phases."""
    learned = model.interactions
    return TrainingFacts(
        trained_at=datetime.now(UTC),
        data=TrainingData(
            files=[escaped(path.name) for path in files],
            rows=learned.rows,
            skipped_rows=learned.account.count,
            pairs=learned.weights.nnz,
            users=len(learned.user_ids),
            items=len(learned.item_ids),
            half_life=learned.counting.half_life,
            rated_above=learned.counting.rated_above,
        ),
        parameters=model.parameters,
        evaluation=evaluation,
        seconds={name: round(value, 3) for name, value in {**seconds, "train": model.seconds}.items()},
        versions=_VERSIONS,
    )


def save_npz(model: TrainedModel, facts: TrainingFacts, path: Path) -> None:
    """Write the safe format, plain arrays; the path is replaced atomically.

    Raises TrainingError.
    """
    with written_model(path) as file:
        write_npz(model, facts, file)


def write_npz(model: TrainedModel, facts: TrainingFacts, file: BinaryIO) -> None:
    """Write the safe format to an open file. Raises OSError."""
    np.savez(
        file,
        allow_pickle=False,
        user_factors=model.user_factors,
        item_factors=model.item_factors,
        item_weights=model.weighting.item_weights,
        activity_discount=np.float64(model.weighting.activity_discount),
        regularization=np.float64(model.parameters.regularization),
        alpha=np.float64(model.parameters.alpha),
        training_facts=np.array(encode_facts(facts)),
        **_had(model.interactions),
    )


def write_popularity(interactions: Interactions, file: BinaryIO) -> None:
    """Write a popularity-only model to an open file. Raises OSError."""
    np.savez(file, allow_pickle=False, popularity_only=np.True_, **_had(interactions))


def save_pickle(model: TrainedModel, facts: TrainingFacts, path: Path) -> None:
    """Write a pickle: implicit's model, the id maps in both directions, and the matrix.

    The path is replaced atomically, as in :func:`save_npz`. Raises TrainingError.
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
        "item_weights": model.weighting.item_weights,
        "activity_discount": model.weighting.activity_discount,
        "training_facts": encode_facts(facts),
    }
    with written_model(path) as file:
        pickle.dump(components, file)


#: The writer of each format of ``als-serve train --format``.
SAVE = {"npz": save_npz, "pickle": save_pickle}


def _had(interactions: Interactions) -> dict[str, Any]:
    """Return the ids and seen items as the arrays of an npz."""
    return {
        "user_ids": interactions.user_ids,
        "item_ids": interactions.item_ids,
        "seen_indptr": interactions.weights.indptr.astype(np.int64),
        "seen_indices": interactions.weights.indices.astype(np.int32),
        "seen_weights": interactions.weights.data,
    }
