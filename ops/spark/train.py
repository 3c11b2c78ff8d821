"""Trains an ALS model with Spark 3.5 or newer, for data that one machine cannot hold. It needs pyspark alone.

    spark-submit train.py --data s3a://my-bucket/interactions/ --out s3a://my-bucket/spark/20260131/
    als-serve publish /mnt/spark/20260131 s3://my-bucket/models/       (a local directory)
    als-serve convert s3://my-bucket/spark/20260131/ als_model.npz     (or a prefix)

It writes to OUT, which must not exist yet:

    model/                      the ALSModel
    user_labels/, item_labels/  id, label: the ids behind Spark's numbers
    seen/                       user, item, weight: the interactions, a row for each pair
    item_weights/               item, weight: what training multiplied the weights of an item's pairs with
    facts/                      a line of JSON, written last: without it, the directory is incomplete

Everything that ALS reads is written first and read back, so that a lost executor's part is computed again alike.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name that everyone gives it

_NULLS = ("", "NULL", "null", "None", "nan", "NaN")


def options() -> argparse.Namespace:
    """Return what was asked for; the defaults are Spark's, except for rank and the discount of popular items."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, help="Parquet, or CSV (with a header) if the name says so.")
    parser.add_argument("--out", required=True)
    parser.add_argument("--user", default="user_id", help="The column of users.")
    parser.add_argument("--item", default="item_id", help="The column of items.")
    parser.add_argument("--weight", help="The column of weights; without it, every row weighs 1.")
    parser.add_argument("--rank", type=int, default=128)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--reg-param", type=float, default=0.1)
    parser.add_argument("--popularity-discount", type=float, default=0.25, help="0 turns it off.")
    parser.add_argument("--blocks", type=int, help="Blocks of users, and of items; by default, one for each core.")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def read(spark: SparkSession, path: str) -> DataFrame:
    """Return the rows of a file or a directory."""
    if path.endswith((".csv", ".csv.gz")):
        return spark.read.csv(path, header=True)
    return spark.read.parquet(path)


def pairs_of(spark: SparkSession, given: argparse.Namespace) -> DataFrame:
    """Return user_label, item_label and weight, a row for each pair; rows without an id or a weight are left out."""
    weight = F.col(given.weight).cast("double") if given.weight else F.lit(1.0)
    tables = [
        read(spark, path).select(
            F.trim(F.col(given.user).cast("string")).alias("user_label"),
            F.trim(F.col(given.item).cast("string")).alias("item_label"),
            weight.alias("weight"),
        )
        for path in given.data
    ]
    rows = tables[0]
    for more in tables[1:]:
        rows = rows.unionByName(more)
    good = ~F.col("user_label").isin(*_NULLS) & ~F.col("item_label").isin(*_NULLS) & (F.col("weight") > 0)
    return rows.where(good).groupBy("user_label", "item_label").agg(F.sum("weight").cast("float").alias("weight"))


def number(spark: SparkSession, pairs: DataFrame, side: str, out: str) -> DataFrame:
    """Write labels in ascending order with the numbers 0, 1, 2, and return both.

    The labels are sorted by range, and each range gets an offset, so no label comes to the driver: StringIndexer needs
    all of them there.
    """
    labels, work = f"{side}_label", f"{out}/_work/{side}"
    ordered = pairs.select(labels).distinct().repartitionByRange(labels).sortWithinPartitions(labels)
    place = F.monotonically_increasing_id()
    ordered.select(
        F.col(labels).alias("label"), F.spark_partition_id().alias("part"), place.alias("place")
    ).write.parquet(work)
    placed = spark.read.parquet(work)
    ranges = placed.groupBy("part").agg(F.count("*").alias("rows"), F.min("place").alias("first")).collect()
    offsets, start = [], 0
    for found in sorted(ranges, key=lambda row: row["part"]):
        offsets.append((found["part"], start - found["first"]))
        start += found["rows"]
    table = F.broadcast(spark.createDataFrame(offsets, "part int, offset long"))
    numbered = placed.join(table, "part").select((F.col("place") + F.col("offset")).cast("int").alias("id"), "label")
    numbered.write.parquet(f"{out}/{side}_labels")
    return spark.read.parquet(f"{out}/{side}_labels").select(F.col("id").alias(side), F.col("label").alias(labels))


def discounted(spark: SparkSession, seen: DataFrame, power: float, out: str) -> DataFrame:
    """Write item weights, and return the interactions multiplied with them; the mean of the products is 1."""
    items = seen.groupBy("item").agg(F.pow(F.count("*"), F.lit(-power)).alias("discount"))
    mean = seen.join(items, "item").agg(F.mean(F.col("weight") * F.col("discount"))).first()[0]
    items.select("item", (F.col("discount") / mean).cast("float").alias("item_weight")).write.parquet(
        f"{out}/item_weights"
    )
    weights = spark.read.parquet(f"{out}/item_weights")
    return seen.join(weights, "item").select("user", "item", (F.col("weight") * F.col("item_weight")).alias("weight"))


def remove(spark: SparkSession, path: str) -> None:
    """Remove a directory, on whatever file system it is."""
    found = spark._jvm.org.apache.hadoop.fs.Path(path)
    found.getFileSystem(spark._jsc.hadoopConfiguration()).delete(found, True)


def train(spark: SparkSession, given: argparse.Namespace, out: str) -> dict[str, Any]:
    """Train, write everything but the facts, and return them."""
    started = time.monotonic()
    pairs = pairs_of(spark, given)
    users, items = (number(spark, pairs, side, out) for side in ("user", "item"))
    pairs.join(users, "user_label").join(items, "item_label").select("user", "item", "weight").write.parquet(
        f"{out}/seen"
    )
    seen = spark.read.parquet(f"{out}/seen")
    blocks = given.blocks or max(10, spark.sparkContext.defaultParallelism)
    model = ALS(
        rank=given.rank,
        maxIter=given.iterations,
        regParam=given.reg_param,
        alpha=given.alpha,
        implicitPrefs=True,
        userCol="user",
        itemCol="item",
        ratingCol="weight",
        seed=given.seed,
        numUserBlocks=blocks,
        numItemBlocks=blocks,
    ).fit(discounted(spark, seen, given.popularity_discount, out))
    model.write().save(f"{out}/model")
    remove(spark, f"{out}/_work")
    return {
        "alpha": given.alpha,
        "reg_param": given.reg_param,
        "popularity_discount": given.popularity_discount,
        "rank": given.rank,
        "iterations": given.iterations,
        "users": users.count(),
        "items": items.count(),
        "pairs": seen.count(),
        "seconds": round(time.monotonic() - started, 1),
        "spark": spark.version,
    }


def main() -> None:
    """Train as asked for on the command line."""
    given = options()
    out = given.out.rstrip("/")
    spark = SparkSession.builder.appName("als-serve train").getOrCreate()
    spark.sparkContext.setCheckpointDir(f"{out}/_work/checkpoints")
    facts = json.dumps(train(spark, given, out))
    spark.range(1).select(F.lit(facts).alias("value")).coalesce(1).write.text(f"{out}/facts")
    print(facts)
    spark.stop()


if __name__ == "__main__":
    main()
