"""Who had what, read from CSV: the only thing ALS learns from."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix

from service.errors import TrainingError
from service.model.ids import MAX_ID_BYTES

_WEIGHT_COLUMNS = ("quantity", "weight")
_GZIP_MAGIC = b"\x1f\x8b"
_CANONICAL_INT = re.compile(r"0|-?[1-9][0-9]{0,17}")  # 18 digits always fit an int64
_LARGEST_WEIGHT = 1e15  # sums and squares of weights up to here stay finite in float32


@dataclass(frozen=True, slots=True)
class Interactions:
    """A users x items matrix of weights, and the ids of its rows and columns.

    user_ids, item_ids: int64 or str, [rows], ascending, unique. weights: float32 [users, items], positive
    where a user had an item; columns ascend within a row and do not repeat.
    """

    user_ids: NDArray[Any]
    item_ids: NDArray[Any]
    weights: csr_matrix[np.float32]


class _BadRowError(Exception):
    """A row makes no sense; whoever knows the file and the line says so."""


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where in a row the three things stand."""

    user: int
    item: int
    weight: int | None
    count: int

    @classmethod
    def of(cls, header: list[str]) -> _Columns:
        missing = [name for name in ("user_id", "item_id") if name not in header]
        if missing:
            found = ", ".join(header) or "nothing"
            raise _BadRowError(f"the header lacks {' and '.join(missing)}; it has {found}")
        weights = [name for name in _WEIGHT_COLUMNS if name in header]
        if len(weights) > 1:
            raise _BadRowError(f"the header has {' and '.join(weights)}; keep the one that counts")
        weight = header.index(weights[0]) if weights else None
        return cls(header.index("user_id"), header.index("item_id"), weight, len(header))

    def parse(self, row: list[str]) -> tuple[str, str, float]:
        if len(row) != self.count:
            raise _BadRowError(f"there are {len(row)} fields, and the header has {self.count}")
        weight = 1.0 if self.weight is None else _weight(row[self.weight])
        return _id("user_id", row[self.user]), _id("item_id", row[self.item]), weight


def read_interactions(path: Path) -> Interactions:
    """Read ``user_id,item_id`` and optionally ``quantity`` (or ``weight``), plain or gzipped, in UTF-8.

    Other columns are ignored. A pair that is repeated has the sum of its weights; without a column of
    weights every row weighs 1. The ids of a column are numbers if every one is written as a program would
    write a number ("42", not "042"), else text. Raises TrainingError that names the first bad line.
    """
    try:
        with _open_text(path) as text:
            users, items, weights = _read_rows(path, text)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} cannot be read as CSV in UTF-8, plain or gzipped: {error}.") from error
    if not users:
        raise TrainingError(f"{path} has a header and no interactions.")
    return _assemble(users, items, weights)


@contextmanager
def _open_text(path: Path) -> Iterator[TextIO]:
    with path.open("rb") as raw:
        zipped = raw.peek(len(_GZIP_MAGIC)).startswith(_GZIP_MAGIC)
        binary = gzip.GzipFile(fileobj=raw) if zipped else raw
        with io.TextIOWrapper(binary, encoding="utf-8-sig", newline="") as text:
            yield text


def _read_rows(path: Path, text: TextIO) -> tuple[list[str], list[str], list[float]]:
    users, items, weights = [], [], []
    reader = csv.reader(text, strict=True)
    try:
        columns = _Columns.of(next(reader, []))
        for row in filter(None, reader):  # csv gives an empty line as an empty row
            user, item, weight = columns.parse(row)
            users.append(user)
            items.append(item)
            weights.append(weight)
    except (csv.Error, _BadRowError) as error:
        raise TrainingError(f"{path}, line {max(reader.line_num, 1)}: {error}.") from error
    return users, items, weights


def _id(column: str, text: str) -> str:
    if not text or "\0" in text or len(text.encode()) > MAX_ID_BYTES:
        what = f"{text[:20]!r}…" if text else "empty"
        raise _BadRowError(f"{column} is {what}; an id is 1 to {MAX_ID_BYTES} bytes of text without NUL")
    return text


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not 0 < weight <= _LARGEST_WEIGHT:
        raise _BadRowError(f"the weight is {text[:20]!r}; it has to be a number above 0, at most 1e15")
    return weight


def _assemble(users: list[str], items: list[str], weights: list[float]) -> Interactions:
    user_ids, rows = np.unique(_as_ids(users), return_inverse=True)
    item_ids, columns = np.unique(_as_ids(items), return_inverse=True)
    shape = (len(user_ids), len(item_ids))
    summed = coo_matrix((np.array(weights), (rows, columns)), shape=shape).tocsr()
    return Interactions(user_ids, item_ids, summed.astype(np.float32))


def _as_ids(texts: list[str]) -> NDArray[Any]:
    numbers = all(map(_CANONICAL_INT.fullmatch, texts))
    return np.array([int(text) for text in texts], np.int64) if numbers else np.array(texts)
