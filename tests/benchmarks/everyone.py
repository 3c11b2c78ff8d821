"""Everyone's list: recommend-all, implicit's topk and, with --spark, both ways of Spark; seconds, and ratios of them.

    OPENBLAS_NUM_THREADS=1 python -m tests.benchmarks.everyone MODEL.npz [--n 20] [--threads 2] [--rounds 3] [--spark]

recommend-all and Spark write Parquet, and topk only computes; the time of ours is without the import of the model. For
--spark, `make test-spark` installs pyspark; each job's time is that of its process, which takes some seconds to start.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import pyarrow.parquet as pq
from implicit.cpu.topk import topk
from scipy.sparse import csr_matrix

from service.bulk.forms import parquet
from service.bulk.lists import Wanted, part_users
from service.bulk.output import Job, Output
from service.bulk.running import run
from service.model.model import Model
from tests.benchmarks.made import read_model
from tests.support import ROOT
from tests.support.cluster import PACKAGES
from tests.support.spark import write_als_model, write_metadata

_THEIRS = """
import sys
from pyspark.ml.recommendation import ALSModel
from pyspark.sql import SparkSession
SparkSession.builder.getOrCreate()
ALSModel.load(sys.argv[1]).recommendForAllUsers(int(sys.argv[2])).write.parquet(sys.argv[3])
"""


def _ours(model: Model, out: Path, n: int, threads: int) -> None:
    users, output = np.arange(len(model.user_ids), dtype=np.int32), Output(out, ".parquet")
    with output.begun(Job("", n, True, "", "", part_users(n))):
        run(model, users, Wanted(n), output, parquet(model), threads=threads)


def _topk(model: Model, n: int, threads: int) -> None:
    """Compute all lists, 10,000 users at a time: for all at once, topk would take the memory of all their scores."""
    assert model.seen
    shape = len(model.user_factors), len(model.item_factors)
    had = csr_matrix((model.seen.weights, model.seen.items, model.seen.indptr), shape, copy=False)
    for start in range(0, shape[0], 10_000):
        some = slice(start, start + 10_000)
        topk(model.item_factors, model.user_factors[some], n, filter_query_items=had[some], num_threads=threads)


def _seconds(work: Callable[[], object]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


def _submit(threads: int, *job: object) -> None:
    environment = os.environ | {"PYTHONPATH": f"{PACKAGES}:{ROOT}", "PYSPARK_PYTHON": sys.executable}
    options = ["--master", f"local[{threads}]", "--driver-memory", "4g", "--conf", "spark.ui.enabled=false"]
    command = [str(PACKAGES / "pyspark/bin/spark-submit"), *options, *map(str, job)]
    local = {"SPARK_HOME": str(PACKAGES / "pyspark"), "SPARK_LOCAL_IP": "127.0.0.1"}
    subprocess.run(command, check=True, env=environment | local, stderr=subprocess.DEVNULL)


def _spark(file: Path, model: Model, scratch: Path, n: int, threads: int) -> None:
    """Run both jobs, and print how many of Spark's own items the users had before."""
    assert model.seen
    (scratch / "theirs.py").write_text(_THEIRS)
    saved = write_als_model(scratch / "als", model.user_factors, model.item_factors, 4)
    said = {"uid": "als", "timestamp": 0, "sparkVersion": "4.0.0", "rank": model.user_factors.shape[1]}
    write_metadata(saved, **said)
    job = (ROOT / "ops/spark/recommend.py", "--model", file, "--out", scratch / "our_lists", "-n", n)
    print(f"ops/spark/recommend.py {_seconds(partial(_submit, threads, *job)):.1f} s", flush=True)
    theirs = (scratch / "theirs.py", saved, n, scratch / "their_lists")
    print(f"recommendForAllUsers {_seconds(partial(_submit, threads, *theirs)):.1f} s", flush=True)
    rows = pq.read_table(scratch / "their_lists").to_pylist()
    listed = [(row["user"], each["item"]) for row in rows for each in row["recommendations"]]
    had = sum(bool(np.isin(item, model.seen.of(user))) for user, item in listed)
    print(f"of its {len(listed)} items, {had / len(listed):.1%} are what the user had")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--spark", action="store_true")
    options = parser.parse_args()
    model = read_model(options.file)
    with tempfile.TemporaryDirectory() as directory:
        scratch, rounds = Path(directory), []
        for number in range(options.rounds):
            ours = _seconds(partial(_ours, model, scratch / str(number), options.n, options.threads))
            rounds.append((ours, _seconds(partial(_topk, model, options.n, options.threads))))
        of_both = [f"{median(column):.2f} s" for column in zip(*rounds, strict=True)]
        ratio = median(theirs / ours for ours, theirs in rounds)
        print(f"recommend-all {of_both[0]}, topk {of_both[1]}: {ratio:.2f} times", flush=True)
        if options.spark:
            _spark(options.file.absolute(), model, scratch, options.n, options.threads)


if __name__ == "__main__":
    main()
