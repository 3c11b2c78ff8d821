"""Parquet files of Spark, read batch by batch, and their failures as sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from service.errors import ConversionError
from service.training.data_files import DataFile

_BATCH_ROWS = 2**14


@contextmanager
def opened_parquet(file: DataFile, columns: Sequence[str]) -> Iterator[pq.ParquetFile]:
    """Open a file that has these columns. Raises ConversionError, also for what is raised in the block."""
    try:
        with file.open() as raw, pq.ParquetFile(raw) as parquet:
            there = parquet.schema_arrow.names
            missing = [column for column in columns if column not in there]
            if missing:
                raise ConversionError(f"{file.path} has no column {' and no column '.join(missing)}; save it again.")
            yield parquet
    except (OSError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ConversionError(
            f"{file.path} is damaged or cut short: it cannot be read as Parquet; copy it again."
        ) from error


def batches(parquet: pq.ParquetFile, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield the rows in the order of the file, checked, because Arrow trusts offsets and text."""
    for batch in parquet.iter_batches(_BATCH_ROWS, columns=list(columns), use_threads=False):
        batch.validate(full=True)
        yield batch
