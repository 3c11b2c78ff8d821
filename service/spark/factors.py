"""The factors of a saved ALSModel: rows are spread over part files in any order, each with its number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.errors import ConversionError
from service.model.factors import Float32, Int64
from service.spark.parquet import batches, opened_parquet
from service.spark.tree import Tree
from service.training.data_files import DataFile

#: Callback: bytes just read.
OnBytes = Callable[[int], object]

_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)


@dataclass(frozen=True, slots=True)
class Numbered:
    """Factors by the numbers that Spark has for users or items.

    numbers: int64 [rows], ascending, unique; factors: float32 [rows, rank]; tree: where they were read.
    """

    tree: Tree
    numbers: Int64
    factors: Float32


def read_factors(tree: Tree, rank: int, on_bytes: OnBytes = lambda _count: None) -> Numbered:
    """Read userFactors or itemFactors.

    The numbers are read first, so that each row can be put in its place at once, and no second copy of the factors is
    in memory. Raises ConversionError.
    """
    parts = tree.parts()
    numbers = np.concatenate([np.zeros(0, np.int64), *(_numbers(part) for part in parts)])
    if not len(numbers):
        raise ConversionError(f"{tree.root} has no rows; train the model on interactions that Spark does not drop.")
    order = np.argsort(numbers, kind="stable")
    _prove_unique(tree, numbers[order])
    places = np.empty(len(numbers), np.int64)
    places[order] = np.arange(len(numbers))
    factors = np.empty((len(numbers), rank), np.float32)
    done = 0
    for part in parts:
        done += _fill(part, factors, places[done:], on_bytes)
    return Numbered(tree, numbers[order], factors)


def _numbers(part: DataFile) -> Int64:
    with opened_parquet(part, ("id", "features")) as parquet:
        if not pa.types.is_integer(parquet.schema_arrow.field("id").type):
            raise ConversionError(f"{part.path} has ids that are not whole numbers; save the model again.")
        columns = [batch.column("id").cast(pa.int64()) for batch in batches(parquet, ("id",))]
    if any(column.null_count for column in columns):
        raise ConversionError(f"{part.path} has a row without an id; save the model again.")
    return np.concatenate([np.zeros(0, np.int64), *(column.to_numpy() for column in columns)])


def _prove_unique(tree: Tree, ascending: Int64) -> None:
    again = ascending[1:] == ascending[:-1]
    if again.any():
        raise ConversionError(
            f"{tree.root} has the id {ascending[again.argmax()]} twice, as if two models were mixed; save the model to "
            "a new directory."
        )


def _fill(part: DataFile, factors: Float32, places: Int64, on_bytes: OnBytes) -> int:
    """Put the rows of one file in their places and return their number."""
    done = 0
    with opened_parquet(part, ("id", "features")) as parquet:
        for batch in batches(parquet, ("id", "features")):
            factors[places[done : done + batch.num_rows]] = _matrix(part, batch, factors.shape[1])
            before, done = done, done + batch.num_rows
            of = parquet.metadata.num_rows
            on_bytes(part.size * done // of - part.size * before // of)
    return done


def _matrix(part: DataFile, batch: Any, rank: int) -> Float32:
    """Return the features of a batch, float32 [rows, rank]."""
    column = batch.column("features")
    if not any(is_kind(column.type) for is_kind in _LISTS) or not pa.types.is_floating(column.type.value_type):
        raise ConversionError(
            f"{part.path} has features of type {column.type} instead of lists of floats; save the model again."
        )
    wrong = pc.fill_null(pc.not_equal(pc.list_value_length(column), rank), True)
    if pc.any(wrong).as_py():
        row = pc.index(wrong, True).as_py()
        number, length = batch.column("id")[row], pc.list_value_length(column)[row].as_py()
        raise ConversionError(
            f"{part.path} has {'no' if length is None else length} features for the id {number}; the "
            f"model has the rank {rank}: save it to a new directory."
        )
    values = column.flatten()
    if values.null_count:
        raise ConversionError(f"{part.path} has a feature that is null; save the model again.")
    with np.errstate(over="ignore"):  # what is infinite as float32 is refused with the whole model
        found: Float32 = values.to_numpy().astype(np.float32, copy=False).reshape(-1, rank)
    return found
