"""Tables of interactions on disk, read block by block: text and Parquet, detected by content."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterator
from io import BufferedReader

import pyarrow as pa
import pyarrow.parquet

from service.errors import TrainingError
from service.model.tables.streams import undecodable_line
from service.training.account import Account
from service.training.columns import naming, option
from service.training.data_files import DataFile
from service.training.layout import Layout
from service.training.rows import Place, Rows, check_batch, prove_types
from service.training.text import read_text
from service.untrusted import quote

_PARQUET_MAGIC = b"PAR1"
_BATCH_ROWS = 2**18


def read_rows(table: DataFile, layout: Layout, account: Account) -> Iterator[tuple[Rows, int]]:
    """Yield the good rows of one file block by block, with the number of bytes read so far.

    Raises TrainingError, which names the file and the line of a text file or the row of a Parquet file.
    """
    try:
        with table.open() as raw:
            parquet = raw.peek(len(_PARQUET_MAGIC)).startswith(_PARQUET_MAGIC)
            yield from (_read_parquet if parquet else read_text)(table, raw, layout, account)
    except UnicodeDecodeError as error:
        raise _undecodable(table, error) from error
    except (OSError, EOFError, zlib.error, csv.Error, pa.ArrowException) as error:
        why = str(error).partition("\n")[0].rstrip(".")
        raise TrainingError(
            f"{table.path} cannot be read as Parquet, nor as CSV in UTF-8, plain or gzipped: {quote(why)}."
        ) from error


def _undecodable(table: DataFile, error: UnicodeDecodeError) -> TrainingError:
    line = undecodable_line(table, error.encoding)
    where = table.path if line is None else f"{table.path}, line {line}"
    byte = error.object[error.start : error.start + 1].hex()
    return TrainingError(
        f"{where}: the byte {quote('0x' + byte)} is not {error.encoding.upper()}; save the file as UTF-8, or name its "
        f"encoding, as in --encoding latin-1{option('encoding', 'latin-1')}."
    )


def _read_parquet(table: DataFile, raw: BufferedReader, layout: Layout, account: Account) -> Iterator[tuple[Rows, int]]:
    with pa.parquet.ParquetFile(raw) as file:
        with naming(table.path):
            columns = layout.names.found_in(file.schema_arrow.names, account.lose_times)
            columns = prove_types(file.schema_arrow, columns, account)
        account.take(columns.roles())
        done = 0
        for batch in file.iter_batches(_BATCH_ROWS, columns=columns.given()):
            batch.validate(full=True)  # invalid UTF-8, which Arrow would otherwise accept from a Parquet file
            with naming(table.path):
                rows = check_batch(batch, columns, account, _places(table, done + 1))
            account.meet(rows.faults())
            done += batch.num_rows
            yield rows.good(), table.size * done // file.metadata.num_rows


def _places(table: DataFile, first: int) -> Place:
    return lambda row: f"{table.path}, row {first + row}"
