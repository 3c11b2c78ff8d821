"""The directory that ops/spark/train.py writes: a model with its labels, interactions, item weights and facts."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from service.errors import ConversionError
from service.model.factors import Float32, Int64
from service.spark.parquet import batches, opened_parquet
from service.spark.tree import Tree

_TABLES = ("seen", "user_labels", "item_labels")
_FACTS, _WEIGHTS = "facts", "item_weights"
_MOST_FACTS = 2**16


class Facts(msgspec.Struct, frozen=True):
    """What the model was trained with."""

    alpha: float
    reg_param: float
    activity_discount: float = 0.0


_facts = msgspec.json.Decoder(Facts)


def tables_of_job(directory: Path) -> dict[str, Path]:
    """Return the directories beside a job's model by their options; none if a job did not write this directory.

    Raises ConversionError if the job did not finish.
    """
    found = {name: directory / name for name in _TABLES if (directory / name).is_dir()}
    if len(found) < len(_TABLES):
        return {}
    if not (directory / _FACTS / "_SUCCESS").exists():
        raise ConversionError(f"{directory}/{_FACTS} is not complete, so the training did not finish; run it again.")
    return found


def facts_of_job(tree: Tree) -> Facts | None:
    """Return a job's facts, None if a job did not write this directory. Raises ConversionError."""
    parts = tree.below(_FACTS).parts()
    if not parts:
        return None
    try:
        with parts[0].open() as file:
            return _facts.decode(file.read(_MOST_FACTS))
    except msgspec.MsgspecError:
        raise ConversionError(f"{tree.root}/{_FACTS} is not what train.py writes; run it again.") from None


def item_weights_of_job(tree: Tree, numbers: Int64) -> Float32 | None:
    """Return the weights of items with these ascending numbers, 1 for others; None without weights.

    Raises ConversionError.
    """
    weights = tree.below(_WEIGHTS)
    if not weights.files:
        return None
    weights.prove_complete()
    found = np.ones(len(numbers), np.float32)
    for part in weights.parts():
        with opened_parquet(part, ("item", "item_weight")) as parquet:
            for batch in batches(parquet, ("item", "item_weight")):
                items = batch.column("item").to_numpy()
                places = np.minimum(np.searchsorted(numbers, items), len(numbers) - 1)
                known = numbers[places] == items
                found[places[known]] = batch.column("item_weight").to_numpy()[known]
    return found
