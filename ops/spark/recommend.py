"""Writes everyone's list with Spark 3.5 or newer, for models whose users are too many for one machine.

    spark-submit recommend.py --model s3a://my-bucket/models/als_model.npz --out s3a://my-bucket/lists/20260131/

It needs the same version of als-serve on the driver and the executors. The driver imports the model file as a server
does, in a process of its own. Every executor gets a copy of the snapshot, which its Python workers map and share.

The lists are those of ``als-serve recommend-all MODEL --out lists.parquet``: user_id, strategy, and items.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pyspark import SparkFiles
from pyspark.sql import DataFrame, SparkSession

from service.bulk.lists import Wanted
from service.bulk.tables import recommended
from service.cli.models import imported
from service.errors import AlsServeError
from service.model.model import Model
from service.model.storage.snapshot import Snapshot
from service.settings import Settings


def options() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="The model file, on any file system that Spark reads.")
    parser.add_argument("--out", required=True, help="A directory that does not exist yet.")
    parser.add_argument("-n", type=int, default=10, help="The number of items; 10 by default.")
    parser.add_argument("--include-seen", action="store_true", help="Do not leave out what a user had.")
    parser.add_argument("--partitions", type=int, help="Tasks; by default, four for each core.")
    return parser.parse_args()


def fetch(spark: SparkSession, path: str, to: Path) -> None:
    """Copy a file to the driver's disk, from whatever file system it is on."""
    paths = spark._jvm.org.apache.hadoop.fs
    source = paths.Path(path)
    source.getFileSystem(spark._jsc.hadoopConfiguration()).copyToLocalFile(source, paths.Path(f"file://{to}"))


def exists(spark: SparkSession, path: str) -> bool:
    """Return whether there is something at a path, on whatever file system it is."""
    found = spark._jvm.org.apache.hadoop.fs.Path(path)
    return bool(found.getFileSystem(spark._jsc.hadoopConfiguration()).exists(found))


def send(spark: SparkSession, directory: Path) -> str:
    """Have each executor unpack a copy of a directory, and return the name that SparkFiles knows it by there."""
    archive = directory.with_name(f"{directory.name}.tar")
    with tarfile.open(archive, "w") as packed:
        for path in directory.iterdir():  # not the directory itself, which Spark takes for one outside
            packed.add(path, path.name)
    spark.sparkContext.addArchive(str(archive))
    return archive.name


def lists(spark: SparkSession, snapshot: Snapshot, given: argparse.Namespace) -> DataFrame:
    """Return everyone's list."""
    name, wanted = send(spark, snapshot.directory), Wanted(given.n, exclude_seen=not given.include_seen)

    def score(batches: Iterable[Any]) -> Iterator[Any]:
        return recommended(Path(SparkFiles.get(name)), wanted, batches)

    partitions = given.partitions or 4 * spark.sparkContext.defaultParallelism
    users = spark.range(0, len(snapshot.model.user_ids), 1, partitions)
    return users.mapInArrow(score, _schema(snapshot.model))


def _schema(model: Model) -> str:
    user, item = ("bigint" if ids.kind == "int" else "string" for ids in (model.user_ids, model.item_ids))
    return f"user_id {user}, strategy string, items array<struct<item_id {item}, score float>>"


async def recommend(spark: SparkSession, given: argparse.Namespace) -> None:
    """Import the model, and write the lists."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "als_model.npz"
        fetch(spark, given.model, file)
        async with imported(Settings(model_path=file, state_dir=Path(scratch))) as snapshot:
            file.unlink()
            lists(spark, snapshot, given).write.parquet(given.out)


def main() -> None:
    """Recommend as asked for on the command line."""
    given = options()
    spark = SparkSession.builder.appName("als-serve recommend").getOrCreate()
    try:
        if exists(spark, given.out):  # which Spark would say after the import
            sys.exit(f"Error: {given.out} exists; remove it, or name another directory.")
        asyncio.run(recommend(spark, given))
    except AlsServeError as error:
        sys.exit(f"Error: {error}")
    finally:
        spark.stop()


if __name__ == "__main__":
    main()
