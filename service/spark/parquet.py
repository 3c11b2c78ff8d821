"""Parquet files of Spark, read batch by batch, and their failures as sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from service.errors import ConversionError
from service.training.data_files import DataFile

_BATCH_ROWS = 2**14
#: By default, Arrow reads whole columns of a file at once.
_SMALL_READS: dict[str, Any] = {"pre_buffer": False, "buffer_size": 2**20}


@contextmanager
def opened_parquet(file: DataFile, columns: Sequence[str]) -> Iterator[pq.ParquetFile]:
    """Open a file that has these columns. Raises ConversionError, also for what is raised in the block."""
    try:
        with file.open() as raw, pq.ParquetFile(raw, **_SMALL_READS) as parquet:
            _prove_columns(file, parquet.schema_arrow.names, columns)
            yield parquet
    except (OSError, UnicodeDecodeError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise damaged(file) from error


def _prove_columns(file: DataFile, there: Sequence[str], columns: Sequence[str]) -> None:
    for column in columns:
        if there.count(column) != 1:
            how_many = "two columns" if column in there else "no column"
            raise ConversionError(f"{file.path} has {how_many} {column}; save it again.")


def batches(parquet: pq.ParquetFile, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield the rows in the order of the file, checked, because Arrow trusts offsets and text.

    Raises ArrowInvalid, also if there are more or fewer rows than the file says.
    """
    rows = 0
    for batch in parquet.iter_batches(_BATCH_ROWS, columns=list(columns), use_threads=False):
        batch.validate(full=True)
        rows += batch.num_rows
        yield batch
    if rows != parquet.metadata.num_rows:
        raise pa.ArrowInvalid(f"{rows} rows instead of {parquet.metadata.num_rows}")


def damaged(file: DataFile) -> ConversionError:
    """Return the error for a file that is not valid Parquet."""
    return ConversionError(f"{file.path} is damaged or cut short: it cannot be read as Parquet; copy it again.")
