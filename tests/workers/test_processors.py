"""How many workers "auto" is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.workers.processors import processors, worker_count

ALLOWED = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", ALLOWED), ("50000 100000", 1), ("100000 100000", 1), ("99900000 100000", ALLOWED), ("", ALLOWED)],
)
def test_auto_heeds_a_containers_quota(tmp_path: Path, quota: str, expected: int) -> None:
    """As many as the quota has whole processors, at least one, and never more than there are."""
    path = tmp_path / "cpu.max"
    path.write_text(quota)
    assert processors(path) == expected


def test_without_a_cgroup_all_processors_count(tmp_path: Path) -> None:
    """Those that this process may run on."""
    assert processors(tmp_path / "none") == ALLOWED


def test_a_number_is_taken_as_it_is() -> None:
    """However many processors there are."""
    assert worker_count(7) == 7
    assert 1 <= worker_count("auto") <= ALLOWED
