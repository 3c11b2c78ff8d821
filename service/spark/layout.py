"""Where the parts of a model are in what Spark and MLflow write: the ALSModel, and the StringIndexers before it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from service.errors import ConversionError
from service.spark.tree import Tree
from service.untrusted import quote

_ALS = "org.apache.spark.ml.recommendation.ALSModel"
_INDEXER = "org.apache.spark.ml.feature.StringIndexerModel"
#: A pipeline with a stage in Python is saved by pyspark itself.
_PIPELINES = ("org.apache.spark.ml.PipelineModel", "pyspark.ml.pipeline.PipelineModel")
_TUNED = ("CrossValidatorModel", "TrainValidationSplitModel")
_ESTIMATORS = ("ALS", "Pipeline", "CrossValidator", "TrainValidationSplit")
_MOST_FACTORS = 65_536


class _Metadata(msgspec.Struct):
    """What Spark says of a saved object: its class and parameters."""

    kind: str = msgspec.field(name="class")
    params: dict[str, Any] = msgspec.field(name="paramMap", default_factory=dict)
    defaults: dict[str, Any] = msgspec.field(name="defaultParamMap", default_factory=dict)
    rank: int = 0

    @property
    def name(self) -> str:
        """Return the class without its package."""
        return self.kind.rpartition(".")[2]

    def value(self, name: str) -> Any:
        """Return a parameter, None if it has neither a value nor a default."""
        return self.params.get(name, self.defaults.get(name))


@dataclass(frozen=True, slots=True)
class Indexer:
    """A StringIndexerModel, and which of its lists of labels is meant.

    keeps: whether one number more than there are labels stands for all other values (handleInvalid="keep").
    """

    tree: Tree
    position: int
    keeps: bool


@dataclass(frozen=True, slots=True)
class SparkModel:
    """A saved ALSModel: its number of factors, the columns it was trained on, and the indexers that made these."""

    tree: Tree
    rank: int
    user_column: str
    item_column: str
    indexers: dict[str, Indexer]


def find_model(tree: Tree) -> SparkModel:
    """Return the ALSModel in a directory: itself, in a PipelineModel, in a tuned model, or as MLflow saves them.

    Raises ConversionError.
    """
    _refuse_tables(tree)
    models: list[tuple[Tree, _Metadata]] = []
    indexers: dict[str, Indexer] = {}
    others: list[str] = []
    for stage, found in _stages(_spark_part(tree)):
        if found.kind == _ALS:
            models.append((stage, found))
        elif found.kind == _INDEXER:
            indexers |= _indexers(stage, found)
        else:
            others.append(found.name)
    if len(models) != 1:
        stages = ", ".join(others) or ("StringIndexerModel" if indexers else "an empty pipeline")
        what = f"{len(models)} ALS models" if models else f"no ALS model, only {quote(stages)}"
        raise ConversionError(f"{tree.root} has {what}; als-serve serves one ALS model.")
    return _als_model(*models[0], indexers)


def single_indexer(tree: Tree) -> Indexer:
    """Return the indexer of a directory that is a StringIndexerModel of one column. Raises ConversionError."""
    found = _metadata(tree)
    indexers = list(_indexers(tree, found).values()) if found.kind == _INDEXER else []
    if len(indexers) != 1:
        raise ConversionError(f"{tree.root} is not a StringIndexerModel of one column; name one, or a table of labels.")
    return indexers[0]


def _refuse_tables(tree: Tree) -> None:
    """Raise ConversionError for a directory of another program, or of rows."""
    log = next((path for path in tree.files if "_delta_log" in path.split("/")[:-1]), None)
    if log is not None:
        raise ConversionError(
            f"{tree.root} has a Delta table, whose log says which of its files count; save the model itself, with "
            "model.write().save()."
        )


def _spark_part(tree: Tree) -> Tree:
    """Return what Spark saved, within what MLflow did."""
    for place in (tree, tree.below("sparkml"), tree.below("model"), tree.below("model").below("sparkml")):
        if place.has("metadata"):
            return place
    if tree.has("MLmodel"):
        raise ConversionError(
            f"{tree.root} is a model of MLflow without the directory sparkml; log it with mlflow.spark."
        )
    raise ConversionError(
        f"{tree.root} has no directory metadata, so Spark did not save a model there; name the directory of "
        "model.save()."
    )


def _stages(tree: Tree) -> Iterator[tuple[Tree, _Metadata]]:
    """Yield what a saved model consists of, without the pipelines around it."""
    found = _metadata(tree)
    if found.kind in _PIPELINES:
        stages = tree.below("stages")
        for name in stages.directories():
            yield from _stages(stages.below(name))
    elif found.name in _TUNED:
        yield from _stages(tree.below("bestModel"))
    elif found.name in _ESTIMATORS:
        raise ConversionError(f"{tree.root} is {found.name} before training; save the model that its fit() returns.")
    elif ".mllib." in found.kind:
        raise ConversionError(
            f"{tree.root} was saved by Spark's older API for RDDs (spark.mllib); train with ALS of "
            "pyspark.ml.recommendation."
        )
    else:
        yield tree, found


def _metadata(tree: Tree) -> _Metadata:
    try:
        # Not with msgspec's decoder, because pyspark writes the stages that are in Python, and NaN in them.
        return msgspec.convert(json.loads(tree.metadata()), _Metadata)
    except (ValueError, msgspec.ValidationError, RecursionError):
        raise ConversionError(f"{tree.root}/metadata is not what Spark writes; save the model again.") from None


def _indexers(tree: Tree, found: _Metadata) -> dict[str, Indexer]:
    columns = found.value("outputCols") or [found.value("outputCol")]
    if not isinstance(columns, list) or not all(isinstance(column, str) for column in columns):
        raise ConversionError(f"{tree.root}/metadata does not name the indexer's columns; save the model again.")
    keeps = found.value("handleInvalid") == "keep"
    return {column: Indexer(tree, position, keeps) for position, column in enumerate(columns)}


def _als_model(tree: Tree, found: _Metadata, indexers: dict[str, Indexer]) -> SparkModel:
    user_column, item_column = found.value("userCol"), found.value("itemCol")
    if not (isinstance(user_column, str) and isinstance(item_column, str) and 0 < found.rank <= _MOST_FACTORS):
        raise ConversionError(f"{tree.root}/metadata lacks rank, userCol or itemCol; save the model again.")
    for name in ("userFactors", "itemFactors"):
        tree.below(name).prove_complete()
    return SparkModel(tree, found.rank, user_column, item_column, indexers)
