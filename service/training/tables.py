"""Tables of interactions on disk, read block by block: CSV, TSV (plain or gzipped) and Parquet, detected by content."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from service.errors import TrainingError
from service.training.columns import ColumnNames, naming
from service.training.data_files import DataFile
from service.training.rows import BadRows, Faults, Rows, check_batch, prove_types
from service.training.text import read_text
from service.untrusted import quote

_PARQUET_MAGIC = b"PAR1"
_BATCH_ROWS = 2**18


def read_rows(table: DataFile, names: ColumnNames, bad: BadRows) -> Iterator[tuple[Rows, int]]:
    """Yield the good rows of one file block by block, with the number of bytes read so far.

    Raises TrainingError, which names the file and the line of a text file or the row of a Parquet file.
    """
    try:
        with table.open() as raw:
            parquet = raw.peek(len(_PARQUET_MAGIC)).startswith(_PARQUET_MAGIC)
            yield from (_read_parquet if parquet else read_text)(table, raw, names, bad)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        why = str(error).partition("\n")[0].rstrip(".")
        raise TrainingError(
            f"{table.path} cannot be read as Parquet, nor as CSV in UTF-8, plain or gzipped: {quote(why)}."
        ) from error


def _read_parquet(table: DataFile, raw: BufferedReader, names: ColumnNames, bad: BadRows) -> Iterator[tuple[Rows, int]]:
    with pa.parquet.ParquetFile(raw) as file:
        with naming(table.path):
            columns = names.found_in(file.schema_arrow.names)
            prove_types(file.schema_arrow, columns)
        done = 0
        for batch in file.iter_batches(_BATCH_ROWS, columns=columns.given()):
            batch.validate(full=True)  # invalid UTF-8, which Arrow would otherwise accept from a Parquet file
            rows = check_batch(batch, columns)
            bad.meet(_faults(table.path, rows, done + 1))
            done += batch.num_rows
            yield rows.good(), table.size * done // file.metadata.num_rows


def _faults(path: Path, rows: Rows, start: int) -> Faults:
    bad = np.flatnonzero(rows.bad).tolist()
    return len(bad), lambda: f"{path}, row {start + bad[0]}: {rows.fault(bad[0])}"
