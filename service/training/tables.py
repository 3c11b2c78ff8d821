"""Tables of interactions on disk, read a block at a time: CSV, TSV (plain or gzipped) and Parquet, told by content."""

from __future__ import annotations

import csv
import os
import stat
import zlib
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from service.errors import TrainingError
from service.training.columns import ColumnNames, naming
from service.training.rows import BadRows, Faults, Rows, check_batch, prove_types
from service.training.text import read_text

_ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
_PARQUET_MAGIC = b"PAR1"
_BATCH_ROWS = 2**18


def status(path: Path) -> os.stat_result:
    """Return what the system knows of a path. Raises TrainingError."""
    try:
        return path.stat()
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror}.") from None


def files_of(paths: Sequence[Path]) -> list[Path]:
    """Return the files among these paths and in those that are directories, in order. Raises TrainingError."""
    return [file for path in paths for file in _files_at(path)]


def _files_at(path: Path) -> list[Path]:
    mode = status(path).st_mode
    if stat.S_ISDIR(mode):
        inside = sorted(file for file in path.rglob("*") if _is_table(file, path))
        if not inside:
            raise TrainingError(f"{path} has no file that ends in {', '.join(_ENDINGS)}.")
        return inside
    if not stat.S_ISREG(mode):
        # A pipe can be read once; here the header is read first, and the rows after it.
        raise TrainingError(f"{path} is neither a file nor a directory; write what it yields to a file.")
    return [path]


def _is_table(file: Path, directory: Path) -> bool:
    # Spark and Hadoop leave files such as _SUCCESS beside the data; hidden ones are not finished, or not meant.
    hidden = any(part.startswith(("_", ".")) for part in file.relative_to(directory).parts)
    return not hidden and file.name.lower().endswith(_ENDINGS) and file.is_file()


def read_rows(path: Path, names: ColumnNames, bad: BadRows) -> Iterator[tuple[Rows, int]]:
    """Yield the good rows of one file block by block, and how many of its bytes are read by then.

    Raises TrainingError that names the file and the line of a text file, or the row of a Parquet file.
    """
    try:
        with path.open("rb") as raw:
            parquet = raw.peek(len(_PARQUET_MAGIC)).startswith(_PARQUET_MAGIC)
            yield from (_read_parquet if parquet else read_text)(path, raw, names, bad)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        why = str(error).partition("\n")[0].rstrip(".")
        raise TrainingError(
            f"{path} cannot be read as Parquet, nor as CSV in UTF-8, plain or gzipped: {why}."
        ) from error


def _read_parquet(path: Path, raw: BufferedReader, names: ColumnNames, bad: BadRows) -> Iterator[tuple[Rows, int]]:
    size = status(path).st_size
    with pa.parquet.ParquetFile(raw) as file:
        with naming(path):
            columns = names.found_in(file.schema_arrow.names)
            prove_types(file.schema_arrow, columns)
        done = 0
        for batch in file.iter_batches(_BATCH_ROWS, columns=columns.given()):
            batch.validate(full=True)  # text that is no UTF-8, which Arrow would otherwise take from a Parquet file
            rows = check_batch(batch, columns)
            bad.meet(_faults(path, rows, done + 1))
            done += batch.num_rows
            yield rows.good(), size * done // file.metadata.num_rows


def _faults(path: Path, rows: Rows, start: int) -> Faults:
    bad = np.flatnonzero(rows.bad).tolist()
    return len(bad), lambda: f"{path}, row {start + bad[0]}: {rows.fault(bad[0])}"
