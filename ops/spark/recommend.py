"""Writes everyone's list with Spark 3.5 or newer, for models whose users are too many for one machine.

    spark-submit recommend.py --model s3a://my-bucket/models/als_model.npz --out s3a://my-bucket/lists/20260131/

It needs the same version of als-serve on the driver and the executors. The driver imports the model file as a server
does, in a process of its own. Every executor gets a copy of the snapshot, which its Python workers map and share.

The lists are those of ``als-serve recommend-all MODEL --out lists.parquet`` with the same options: user_id, strategy,
and items. All files may be on any file system that Spark reads.
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

import numpy as np
from pyspark import SparkFiles
from pyspark.sql import DataFrame, SparkSession

from service.bulk.choice import Asked, choose
from service.bulk.lists import Wanted
from service.bulk.tables import recommended
from service.cli.models import imported
from service.cli.policies import imported_policy, read_list
from service.errors import AlsServeError
from service.model.catalog.assortment import EVERYTHING
from service.model.factors import Int32
from service.model.model import Model
from service.model.storage.snapshot import Snapshot
from service.settings import Settings

_SNAPSHOT, _USERS = "snapshot", "users.npy"
_FILES = {
    "items": "The catalog: its unavailable items are in no list.",
    "unavailable": "Items that are in no list, one id a line.",
    "hidden_users": "Users who get no list, one id a line.",
    "users": "The only users who get a list, one id a line.",
}


def positive(text: str) -> int:
    """Return a whole number from 1. Raises ValueError."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def options() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="The model file.")
    parser.add_argument("--out", required=True, help="A directory that does not exist yet.")
    parser.add_argument("-n", type=positive, default=10, help="The number of items; 10 by default.")
    parser.add_argument("--include-seen", action="store_true", help="Do not leave out what a user had.")
    parser.add_argument("--filter", default="", help="Only items of which this is true; it needs --items.")
    for name, what in _FILES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="FILE", help=what)
    parser.add_argument("--item-columns", help="The types of attributes, as ALS_ITEM_COLUMNS of a server.")
    parser.add_argument(
        "--items-required", choices=("true", "false"), default="false", help="Only items that the catalog lists."
    )
    parser.add_argument("--partitions", type=positive, help="Tasks; by default, four for each core.")
    return parser.parse_args()


def place(spark: SparkSession, path: str) -> tuple[Any, Any]:
    """Return the file system that a path is on, and the path for it."""
    there = spark._jvm.org.apache.hadoop.fs.Path(path)
    return there.getFileSystem(spark._jsc.hadoopConfiguration()), there


def exists(spark: SparkSession, path: str) -> bool:
    """Return whether there is a file or a directory at a path."""
    system, there = place(spark, path)
    return bool(system.exists(there))


def prove(spark: SparkSession, given: argparse.Namespace) -> None:
    """Raise SystemExit unless all files are there, and nothing where the lists go: both take long to find out."""
    paths = [path for name in ("model", *_FILES) if (path := getattr(given, name))]
    if missing := [path for path in paths if not exists(spark, path)]:
        sys.exit(f"Error: There is no file at {missing[0]}.")
    if exists(spark, given.out):
        sys.exit(f"Error: {given.out} already exists; name another directory, or remove it.")


def fetched(spark: SparkSession, given: argparse.Namespace, scratch: Path) -> dict[str, Path | None]:
    """Return copies of the files on the driver's disk; their names say what format they have."""
    found: dict[str, Path | None] = {}
    for name in ("model", *_FILES):
        (scratch / name).mkdir()  # of its own, because two files may have the same name
        path = getattr(given, name)
        found[name] = fetch(spark, path, scratch / name) if path else None
    return found


def fetch(spark: SparkSession, path: str, directory: Path) -> Path:
    """Copy a file from whatever file system it is on."""
    copy = directory / path.rpartition("/")[2]
    system, source = place(spark, path)
    system.copyToLocalFile(source, place(spark, f"file://{copy}")[1])
    return copy


def send(spark: SparkSession, snapshot: Snapshot, users: Int32) -> str:
    """Have each executor unpack a copy of a snapshot and of the wanted users' rows.

    Returns the name that SparkFiles knows the directory by there.
    """
    archive, rows = (snapshot.directory.with_name(f"lists{suffix}") for suffix in (".tar", ".npy"))
    np.save(rows, users)
    with tarfile.open(archive, "w") as packed:
        packed.add(rows, _USERS)
        for path in snapshot.directory.iterdir():
            packed.add(path, f"{_SNAPSHOT}/{path.name}")
    spark.sparkContext.addArchive(str(archive))
    return archive.name


def lists(spark: SparkSession, snapshot: Snapshot, users: Int32, wanted: Wanted, partitions: int | None) -> DataFrame:
    """Return the lists of the users with these rows."""
    name = send(spark, snapshot, users)

    def score(batches: Iterable[Any]) -> Iterator[Any]:
        sent = Path(SparkFiles.get(name))
        rows = np.load(sent / _USERS, mmap_mode="r")
        return recommended(sent / _SNAPSHOT, rows, wanted, batches)

    places = spark.range(0, len(users), 1, partitions or 4 * spark.sparkContext.defaultParallelism)
    return places.mapInArrow(score, _schema(snapshot.model))


def _schema(model: Model) -> str:
    user, item = ("bigint" if ids.kind == "int" else "string" for ids in (model.user_ids, model.item_ids))
    return f"user_id {user}, strategy string, items array<struct<item_id {item}, score float>>"


async def recommend(spark: SparkSession, given: argparse.Namespace) -> None:
    """Import the policy and the model, and write the lists."""
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        files = fetched(spark, given, scratch)
        model = files.pop("model")
        asked = Asked(given.n, not given.include_seen, given.filter, read_list(files.pop("users")))
        catalog = {"item_columns": given.item_columns, "items_required": given.items_required == "true"}
        settings = Settings(model_path=model, state_dir=scratch, **files, **catalog)
        async with imported_policy(settings) as policy, imported(settings) as snapshot:
            model.unlink()
            users, wanted = choose(snapshot.model, policy.assort(snapshot.model, EVERYTHING), asked)
            lists(spark, snapshot, users, wanted, given.partitions).write.parquet(given.out)


def main() -> None:
    """Recommend as asked for on the command line."""
    given = options()
    spark = SparkSession.builder.appName("als-serve recommend").getOrCreate()
    try:
        prove(spark, given)
        asyncio.run(recommend(spark, given))
    except AlsServeError as error:
        sys.exit(f"Error: {error}")
    finally:
        spark.stop()


if __name__ == "__main__":
    main()
