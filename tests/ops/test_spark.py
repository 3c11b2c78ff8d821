"""The training job for Spark: one file that a cluster without als-serve can run."""

from __future__ import annotations

import ast
import sys

from tests.support import ROOT

JOB = ROOT / "ops/spark/train.py"


def test_the_job_needs_pyspark_alone() -> None:
    """It imports nothing else besides the standard library, so that spark-submit needs no packages."""
    tree = ast.parse(JOB.read_text(encoding="utf-8"))
    named = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    named += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    packages = {name.partition(".")[0] for name in named}
    assert packages - sys.stdlib_module_names == {"pyspark"}
