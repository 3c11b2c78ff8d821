"""A run of everyone's lists: what is reported while it lasts."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from service.bulk import lists
from service.bulk.forms import json_lines
from service.bulk.lists import Wanted
from service.bulk.output import Job, Output
from service.bulk.running import run
from service.model.arranging import arrange
from tests.support.models import make_factors


def test_progress_is_in_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of parts that are there count from the start, and in the end all are done."""
    monkeypatch.setattr(lists, "_ENTRIES_PER_PART", 100)
    model, users = arrange(make_factors(users=35)), np.arange(35, dtype=np.int32)
    output, reports = Output(tmp_path / "lists.jsonl", ".jsonl"), list[tuple[int, int]]()
    output.begin(Job("", 10, True, "", "", 10))
    output.write(1, lambda file: file.write(b""))
    run(
        model,
        users,
        Wanted(),
        output,
        json_lines(model),
        threads=1,
        on_done=lambda done, total: reports.append((done, total)),
    )
    # Of two parts that end together, either may be first.
    assert [reports[0], reports[-1]] == [(10, 35), (35, 35)]
    assert sorted(later[0] - earlier[0] for earlier, later in pairwise(reports)) == [5, 10, 10]
