"""Models as Spark saved them, copies to damage, and models like Spark's of any size."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from service.model.conversion import Conversion
from service.model.factors import Factors
from service.spark.converting import convert, opened
from tests.support import ROOT

FIXTURES = ROOT / "tests/fixtures/spark"
VERSIONS = sorted(path.name for path in FIXTURES.iterdir())
ALS_MODEL = "org.apache.spark.ml.recommendation.ALSModel"


def converted(model: Path, **options: Any) -> tuple[Factors, list[str]]:
    """Convert in this process."""
    with opened(Conversion(model, **options)) as inputs:
        return convert(inputs)


def copied(tmp_path: Path, name: str = "als", version: str = VERSIONS[0]) -> Path:
    """Return a copy that a test may damage."""
    return Path(shutil.copytree(FIXTURES / version / name, tmp_path / name))


def factors_of(directory: Path) -> dict[int, NDArray[np.float32]]:
    """Read userFactors or itemFactors in the plainest way."""
    table = pq.read_table(directory)
    ids, features = table.column("id").to_pylist(), table.column("features").to_pylist()
    return {number: np.array(row, np.float32) for number, row in zip(ids, features, strict=True)}


def write_metadata(directory: Path, kind: str = ALS_MODEL, params: dict[str, Any] | None = None, **more: Any) -> None:
    """Write what describes a saved object."""
    (directory / "metadata").mkdir(parents=True, exist_ok=True)
    content = {
        "class": kind,
        "paramMap": params or {},
        "defaultParamMap": {"userCol": "user", "itemCol": "item"},
        **more,
    }
    (directory / "metadata/part-00000").write_text(json.dumps(content) + "\n")
    (directory / "metadata/_SUCCESS").touch()


def write_factors(
    directory: Path, numbers: NDArray[Any], features: Any, parts: int = 1, compression: str = "snappy"
) -> None:
    """Write factors to part files, rows dealt out in turn as Spark's hashing does."""
    directory.mkdir(parents=True, exist_ok=True)
    for part in range(parts):
        rows = slice(part, None, parts)
        chosen = _lists(features[rows]) if isinstance(features, np.ndarray) else features[rows]
        table = pa.table({"id": pa.array(numbers[rows]), "features": chosen})
        pq.write_table(table, directory / f"part-{part:05d}-c000.{compression}.parquet", compression=compression)
    (directory / "_SUCCESS").touch()


def _lists(features: NDArray[Any]) -> pa.Array:
    values = pa.array(np.ascontiguousarray(features).reshape(-1))
    offsets = pa.array(np.arange(len(features) + 1, dtype=np.int32) * features.shape[1])
    return pa.ListArray.from_arrays(offsets, values)


def write_als_model(
    directory: Path, users: NDArray[Any], items: NDArray[Any], parts: int = 1, numbers: tuple[Any, Any] | None = None
) -> Path:
    """Write an ALSModel with these factors, [rows, rank]; numbers: of the rows, if not 0, 1, 2 and so on."""
    write_metadata(directory, rank=users.shape[1])
    given = numbers or (np.arange(len(users), dtype=np.int32), np.arange(len(items), dtype=np.int32))
    for name, ids, features in zip(("userFactors", "itemFactors"), given, (users, items), strict=True):
        write_factors(directory / name, ids, features, parts)
    return directory


def part_of(directory: Path) -> Path:
    """Return the first part file of a directory."""
    return next(files(directory))


def files(directory: Path) -> Iterator[Path]:
    """Yield part files in the order of their names."""
    yield from sorted(directory.glob("part-*"))
