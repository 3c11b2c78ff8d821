"""The ids behind Spark's numbers: from a StringIndexer, or from a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from service.errors import ConversionError
from service.model.factors import Int64
from service.model.tables import ids
from service.model.tables.streams import decompressed, first_bytes
from service.spark.layout import Indexer
from service.spark.parquet import batches, opened_parquet
from service.training.data_files import DataFile

_COLUMNS = ("id", "label")
_SCHEMA = pa.schema([("id", pa.int64()), ("label", pa.string())])
_LABELS_ARRAY = pa.list_(pa.list_(pa.string()))
_PARQUET_MAGIC = b"PAR1"


class Labels:
    """Labels by number: numbers (int64, ascending, unique) and Arrow texts of the same length."""

    def __init__(self, where: str, numbers: Int64, texts: Any, *, keeps: bool = False) -> None:
        self.where = where
        self._numbers = numbers
        self._texts = texts
        self._keeps = keeps

    def of(self, numbers: Int64) -> Int64 | list[str]:
        """Return the ids of numbers: int64 if all are the text of a number, else texts. Raises ConversionError."""
        places = np.minimum(np.searchsorted(self._numbers, numbers), max(0, len(self._numbers) - 1))
        known = self._numbers[places] == numbers if len(self._numbers) else np.zeros(len(numbers), np.bool_)
        if not known.all():
            raise ConversionError(
                f"{self.where} has no label for {numbers[known.argmin()]}, which has factors; name the labels that the "
                "model was trained with."
            )
        texts = _as_ids(self._texts.take(pa.array(places)))
        if not ids.are_numbers(texts).all():
            listed: list[str] = texts.to_pylist()
            return listed
        found: Int64 = texts.cast(pa.int64()).to_numpy()
        return found

    def stands_for_others(self, number: int) -> bool:
        """Return whether a number is the one that stands for all values without a label."""
        return self._keeps and number == len(self._texts)


def _as_ids(texts: Any) -> Any:
    """Apply the one rule for ids: the number 17.0, as Spark writes a double, is 17, as in interactions."""
    return pc.coalesce(ids.clean(texts, "label").dictionary_decode(), texts)


def labels_of_indexer(indexer: Indexer) -> Labels:
    """Read the labels of a StringIndexerModel: one row with all of them. Raises ConversionError."""
    data = indexer.tree.below("data")
    data.prove_complete()
    rows = [row for part in data.parts() for row in _rows(part)]
    lists = rows[0] if len(rows) == 1 else None
    texts = lists[indexer.position].values if lists is not None and indexer.position < len(lists) else None
    if texts is None or texts.null_count:
        raise ConversionError(f"{data.root} does not have the labels of a StringIndexer; save the model again.")
    return Labels(str(indexer.tree.root), np.arange(len(texts)), texts, keeps=indexer.keeps)


def _rows(part: DataFile) -> list[Any]:
    """Return the labels in each row, an Arrow array of lists of text, None if there are none."""
    with opened_parquet(part, ()) as parquet:
        if parquet.schema_arrow.names != ["labelsArray"] or parquet.schema_arrow.types[0] != _LABELS_ARRAY:
            return [None]
        return [row.values for batch in batches(parquet, ["labelsArray"]) for row in batch.column(0)]


def labels_of_tables(where: str, tables: list[DataFile]) -> Labels:
    """Read tables with the columns id and label, as Parquet or CSV. Raises ConversionError, TrainingError."""
    columns = [column for table in tables for column in _columns(table)]
    found = pa.concat_tables([_SCHEMA.empty_table(), *columns]).combine_chunks()
    numbers = found.column("id").to_numpy()
    order = np.argsort(numbers, kind="stable")
    again = numbers[order][1:] == numbers[order][:-1]
    if again.any():
        raise ConversionError(f"{where} has two labels for {numbers[order][again.argmax()]}; keep one.")
    texts = pc.take(found.column("label"), pa.array(order)).combine_chunks()
    return Labels(where, numbers[order], texts)


def _columns(table: DataFile) -> list[Any]:
    parquet = first_bytes(table, len(_PARQUET_MAGIC)) == _PARQUET_MAGIC
    found = [_cast(table, each) for each in (_read_parquet(table) if parquet else _read_csv(table))]
    if any(each.column(name).null_count for each in found for name in _COLUMNS):
        raise ConversionError(f"{table.path} has a row without an id or a label; leave it out.")
    return found


def _read_parquet(table: DataFile) -> list[Any]:
    with opened_parquet(table, _COLUMNS) as parquet:
        return [pa.Table.from_batches([batch]) for batch in batches(parquet, _COLUMNS)]


def _read_csv(table: DataFile) -> list[Any]:
    try:
        with table.open() as raw:
            return [
                pyarrow.csv.read_csv(
                    decompressed(raw),
                    read_options=pyarrow.csv.ReadOptions(use_threads=False),
                    convert_options=pyarrow.csv.ConvertOptions(column_types=_SCHEMA, include_columns=list(_COLUMNS)),
                )
            ]
    except (OSError, EOFError, pa.ArrowInvalid, pa.ArrowKeyError):
        raise ConversionError(
            f"{table.path} is not a CSV or Parquet file with the columns id (whole numbers) and label."
        ) from None


def _cast(table: DataFile, found: Any) -> Any:
    if not ids.are_ids(found.schema.field("label").type):
        raise ConversionError(
            f"{table.path} has labels of type {found.schema.field('label').type}; use numbers or text."
        )
    try:
        return found.select(list(_COLUMNS)).cast(_SCHEMA)
    except pa.ArrowInvalid:
        raise ConversionError(
            f"{table.path} has ids that are not whole numbers, or labels that are not text; write it again."
        ) from None
