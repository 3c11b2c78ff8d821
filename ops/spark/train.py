"""Trains an ALS model with Spark 3.5 or newer, for data that one machine cannot hold. It needs pyspark alone.

    spark-submit train.py --data s3a://my-bucket/interactions/ --out s3a://my-bucket/spark/20260131/
    als-serve publish s3://my-bucket/spark/20260131/ s3://my-bucket/models/

It writes to OUT, which must not exist yet:

    model/                      the ALSModel
    user_labels/, item_labels/  id, label: the ids behind Spark's numbers
    seen/                       user, item, weight: the interactions, a row for each pair
    item_weights/               item, item_weight: what training multiplied the weights of an item's pairs with
    facts/                      a line of JSON, written last: without it, the directory is incomplete

Everything that ALS reads is written first and read back, so that a lost executor's part is computed again alike.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import sys
import time
from typing import Any

from pyspark.errors import AnalysisException
from pyspark.ml.recommendation import ALS, ALSModel
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812 - the name that everyone gives it

_HELD_OUT = 0.2
_NULLS = ("", "NULL", "null", "None", "nan", "NaN")


def positive(text: str) -> int:
    """Return a whole number from 1. Raises ValueError."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def options() -> argparse.Namespace:
    """Return what was asked for; the defaults are Spark's, except for rank and discounts, which are als-serve's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, help="Parquet, or CSV (with a header) if the name says so.")
    parser.add_argument("--out", required=True, help="A directory that does not exist yet.")
    parser.add_argument("--user", default="user_id", help="The column of users.")
    parser.add_argument("--item", default="item_id", help="The column of items.")
    parser.add_argument("--weight", help="The column of weights; without it, every row weighs 1.")
    parser.add_argument("--rank", type=positive, default=128, help="Spark's rank; %(default)s by default.")
    parser.add_argument("--iterations", type=positive, default=10, help="Spark's maxIter; %(default)s by default.")
    parser.add_argument("--alpha", type=float, default=1.0, help="Spark's alpha; %(default)s by default.")
    parser.add_argument("--reg-param", type=float, default=0.1, help="Spark's regParam; %(default)s by default.")
    parser.add_argument("--popularity-discount", type=float, default=0.35, help="As of als-serve train; %(default)s.")
    parser.add_argument("--activity-discount", type=float, default=0.25, help="As of als-serve train; %(default)s.")
    parser.add_argument("--blocks", type=positive, help="Blocks of users, and of items; by default, one for each core.")
    parser.add_argument("--seed", type=int, default=0)
    held_out = parser.add_mutually_exclusive_group()
    held_out.add_argument("--test", nargs="+", help="Evaluate on these interactions, with the same columns.")
    held_out.add_argument(
        "--evaluate", action="store_true", help="First train without a fifth of each user's pairs, and evaluate on it."
    )
    parser.add_argument("-k", type=positive, default=20, help="Evaluate the top k; %(default)s by default.")
    parser.add_argument(
        "--sample", type=positive, default=50_000, help="Evaluate at most so many users; %(default)s by default."
    )
    return parser.parse_args()


def read(spark: SparkSession, path: str) -> DataFrame:
    """Return the rows of a file or a directory. Raises AnalysisException, and SystemExit if it is not Parquet."""
    if path.rstrip("/").endswith((".csv", ".csv.gz")):
        return spark.read.csv(path, header=True)
    try:
        return spark.read.parquet(path)
    except AnalysisException:
        raise
    except Exception as error:  # of py4j, which is another package: a sentence in the second line, and a stack
        why = "".join(str(error).splitlines()[1:2]).lstrip(": ")
        sys.exit(f"Error: {path} cannot be read as Parquet ({why}); the names of CSV files end in .csv.")


def quoted(column: str) -> str:
    """Return the name of a column such that Spark takes no point in it for a field."""
    return f"`{column.replace('`', '``')}`"


def pairs_of(spark: SparkSession, given: argparse.Namespace, paths: list[str]) -> DataFrame:
    """Return user_label, item_label and weight, a row for each pair; rows without an id or a weight are left out.

    Raises AnalysisException for a path or a column that does not exist, and SystemExit if no row is left.
    """
    # From Spark 4 on, a cast ends the job at the first text that is not a number.
    weight = F.expr(f"try_cast({quoted(given.weight)} AS double)") if given.weight else F.lit(1.0)
    tables = [
        read(spark, path).select(
            F.trim(F.col(quoted(given.user)).cast("string")).alias("user_label"),
            F.trim(F.col(quoted(given.item)).cast("string")).alias("item_label"),
            weight.alias("weight"),
        )
        for path in paths
    ]
    rows = tables[0]
    for more in tables[1:]:
        rows = rows.unionByName(more)
    weighs = (F.col("weight") > 0) & (F.col("weight") < math.inf)  # Spark's NaN is greater than infinity
    rows = rows.where(~F.col("user_label").isin(*_NULLS) & ~F.col("item_label").isin(*_NULLS) & weighs)
    if rows.isEmpty():
        sys.exit(f"Error: {', '.join(paths)} has no row with a user, an item and a positive weight; name the columns.")
    return rows.groupBy("user_label", "item_label").agg(F.sum("weight").cast("float").alias("weight"))


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


def weighed(spark: SparkSession, given: argparse.Namespace, seen: DataFrame, out: str) -> DataFrame:
    """Write item weights, and return the interactions with the weights of training, whose mean is 1."""
    items, users = (
        seen.groupBy(side).agg(F.pow(F.count("*"), F.lit(-power)).alias(f"{side}_discount"))
        for side, power in (("item", given.popularity_discount), ("user", given.activity_discount))
    )
    product = F.col("weight") * F.col("item_discount") * F.col("user_discount")
    mean = seen.join(items, "item").join(users, "user").agg(F.mean(product)).first()[0]
    items.select("item", (F.col("item_discount") / mean).cast("float").alias("item_weight")).write.parquet(
        f"{out}/item_weights"
    )
    weights = spark.read.parquet(f"{out}/item_weights")
    weight = F.col("weight") * F.col("item_weight") * F.col("user_discount")
    return seen.join(weights, "item").join(users, "user").select("user", "item", weight.alias("weight"))


def at(spark: SparkSession, path: str) -> tuple[Any, Any]:
    """Return the file system of a path, whichever it is, and the path there."""
    found = spark._jvm.org.apache.hadoop.fs.Path(path)
    return found.getFileSystem(spark._jsc.hadoopConfiguration()), found


def exists(spark: SparkSession, path: str) -> bool:
    """Return whether there is a file or a directory."""
    system, found = at(spark, path)
    there: bool = system.exists(found)
    return there


def remove(spark: SparkSession, path: str) -> None:
    """Remove a directory."""
    system, found = at(spark, path)
    system.delete(found, True)


def fit(spark: SparkSession, given: argparse.Namespace, seen: DataFrame, out: str) -> ALSModel:
    """Train on interactions, and write the weights of the items."""
    blocks = given.blocks or max(10, spark.sparkContext.defaultParallelism)
    return ALS(
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
    ).fit(weighed(spark, given, seen, out))


def split(spark: SparkSession, seen: DataFrame, seed: int, out: str) -> tuple[DataFrame, DataFrame]:
    """Return interactions without a random fifth of each user's, rounded down, and that fifth."""
    user = Window.partitionBy("user")
    place = F.row_number().over(user.orderBy(F.xxhash64("user", "item", F.lit(seed)), "item"))
    last = F.floor(_HELD_OUT * F.count("*").over(user))
    seen.withColumn("held_out", place <= last).write.parquet(f"{out}/split")
    both = spark.read.parquet(f"{out}/split")
    return both.where(~F.col("held_out")), both.where("held_out").select("user", "item")


def ranked(model: ALSModel, seen: DataFrame, wanted: DataFrame, k: int) -> DataFrame:
    """Return user, item, rank of the k items with the highest scores that each wanted user has not seen.

    The top k + s has at least k unseen items if the user has seen at most s. One s for all users would be that of the
    most active one, so users are ranked in groups: with at most 1, 4, 16... seen items.
    """
    counts = seen.join(wanted, "user").groupBy("user").agg(F.ceil(F.log(4.0, F.count("*"))).alias("power"))
    top = [
        model.recommendForUserSubset(counts.where(F.col("power") == row["power"]), k + 4 ** row["power"])
        for row in counts.select("power").distinct().orderBy("power").collect()
    ]
    every = functools.reduce(DataFrame.unionByName, top)
    items = every.select("user", F.posexplode("recommendations").alias("place", "found"))
    unseen = items.select("user", "place", "found.item").join(seen, ["user", "item"], "left_anti")
    rank = F.row_number().over(Window.partitionBy("user").orderBy("place"))
    return unseen.select("user", "item", rank.alias("rank")).where(F.col("rank") <= k)


def evaluate(
    spark: SparkSession, given: argparse.Namespace, model: ALSModel, seen: DataFrame, held_out: DataFrame, out: str
) -> dict[str, Any]:
    """Return the mean recall and NDCG of the top k, as ``als-serve evaluate`` defines them.

    held_out: user, item; an item that the model does not know is NULL and a miss, and a seen one does not count.
    """
    k = given.k
    held_out.join(seen, ["user", "item"], "left_anti").write.parquet(f"{out}/held_out")
    held_out = spark.read.parquet(f"{out}/held_out")
    if held_out.isEmpty():
        print("Nothing was evaluated: no user of the model has other items to test with.", file=sys.stderr)
        return {"k": k, "sampled_of": 0, "users": 0, "pairs": 0, "recall": None, "ndcg": None}
    users = held_out.groupBy("user").agg(F.count("*").alias("wanted"))
    wanted = users.orderBy(F.xxhash64("user", F.lit(given.seed)), "user").limit(given.sample)
    wanted.write.parquet(f"{out}/wanted")
    wanted = spark.read.parquet(f"{out}/wanted")
    hits = ranked(model, seen, wanted.select("user"), k).join(held_out, ["user", "item"])
    gains = [1 / math.log2(rank + 1) for rank in range(1, k + 1)]
    gained = F.element_at(F.array(*map(F.lit, gains)), F.col("rank"))
    found = hits.groupBy("user").agg(F.count("*").alias("hits"), F.sum(gained).alias("gain"))
    ideal = F.element_at(F.array(*map(F.lit, itertools.accumulate(gains))), F.least("wanted", F.lit(k)).cast("int"))
    of_users = wanted.join(found, "user", "left").na.fill(0)
    means = of_users.agg(
        F.count("*").alias("users"),
        F.sum("wanted").alias("pairs"),
        F.mean(F.col("hits") / F.col("wanted")).alias("recall"),
        F.mean(F.col("gain") / ideal).alias("ndcg"),
    )
    return {"k": k, "sampled_of": users.count(), **means.first().asDict()}


def train(spark: SparkSession, given: argparse.Namespace, out: str) -> dict[str, Any]:
    """Train, write everything but the facts, and return them."""
    started, work = time.monotonic(), f"{out}/_work"
    pairs = pairs_of(spark, given, given.data)
    test = pairs_of(spark, given, given.test) if given.test else None
    spark.sparkContext.setCheckpointDir(f"{work}/checkpoints")
    users, items = (number(spark, pairs, side, out) for side in ("user", "item"))
    pairs.join(users, "user_label").join(items, "item_label").select("user", "item", "weight").write.parquet(
        f"{out}/seen"
    )
    seen = spark.read.parquet(f"{out}/seen")
    evaluation = None
    if given.evaluate:
        rest, held_out = split(spark, seen, given.seed, work)
        evaluation = evaluate(spark, given, fit(spark, given, rest, work), rest, held_out, work)
    model = fit(spark, given, seen, out)
    model.write().save(f"{out}/model")
    if test is not None:
        named = test.join(users, "user_label").join(items, "item_label", "left").select("user", "item")
        evaluation = evaluate(spark, given, model, seen, named, work)
    remove(spark, work)
    return {
        "alpha": given.alpha,
        "reg_param": given.reg_param,
        "popularity_discount": given.popularity_discount,
        "activity_discount": given.activity_discount,
        "rank": given.rank,
        "iterations": given.iterations,
        "users": users.count(),
        "items": items.count(),
        "pairs": seen.count(),
        "evaluation": evaluation,
        "seconds": round(time.monotonic() - started, 1),
        "spark": spark.version,
    }


def write(spark: SparkSession, given: argparse.Namespace, out: str) -> str:
    """Write everything, and return the facts, a line of JSON. Raises SystemExit with a sentence."""
    if exists(spark, out):
        sys.exit(f"Error: {out} already exists; name another directory, or remove it.")
    try:
        facts = json.dumps(train(spark, given, out))
    except AnalysisException as error:  # its first line is a sentence, on a path or a column; the others are a plan
        sys.exit(f"Error: {str(error).splitlines()[0]}")
    spark.range(1).select(F.lit(facts).alias("value")).coalesce(1).write.text(f"{out}/facts")
    return facts


def main() -> None:
    """Train as asked for on the command line."""
    given = options()
    spark = SparkSession.builder.appName("als-serve train").getOrCreate()
    try:
        print(write(spark, given, given.out.rstrip("/")))
    finally:
        spark.stop()


if __name__ == "__main__":
    main()
