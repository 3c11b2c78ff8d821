"""Runs jobs of ops/spark one after another in one process, because Spark takes longer to start than small jobs take.

spark-submit spark_jobs.py '[["train", "--data", "interactions.csv", …], …]'
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "ops/spark"))
for name, *arguments in json.loads(sys.argv[1]):
    sys.argv = [name, *arguments]
    try:
        import_module(name).main()
    except SystemExit as end:
        print(end)
