"""The jobs for Spark: files that a cluster runs, and the commands that their README shows."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

JOBS = ROOT / "ops/spark"
README = (JOBS / "README.md").read_text(encoding="utf-8")


def packages(job: Path) -> set[str]:
    """Return what a job imports besides the standard library."""
    tree = ast.parse(job.read_text(encoding="utf-8"))
    named = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    named += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    return {name.partition(".")[0] for name in named} - sys.stdlib_module_names


def test_training_needs_pyspark_alone() -> None:
    """So spark-submit needs no packages, on any cluster; recommending needs als-serve, too, which has NumPy."""
    assert packages(JOBS / "train.py") == {"pyspark"}
    assert packages(JOBS / "recommend.py") == {"numpy", "pyspark", "service"}


@pytest.mark.parametrize("name", ["train.py", "recommend.py"])
def test_the_commands_have_the_options_of_the_job(name: str) -> None:
    """What follows the job in a command of the README is what it takes; it is shown for each place to run it."""
    known = set(re.findall(r'add_argument\("(--?[\w-]+)"', (JOBS / name).read_text(encoding="utf-8")))
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    ends = [line.partition(name)[2] for block in blocks for line in block.splitlines() if f"{name}" in line]
    used = [re.findall(r"(?<=[\s,])--?[a-z][\w-]*", end.replace(",", " ")) for end in ends]
    assert sum(map(bool, used)) >= 3
    assert {option for options in used for option in options} <= known
