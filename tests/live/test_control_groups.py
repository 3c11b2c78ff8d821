"""Limits of control groups: what they leave to an import, and that an import respects it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from service.live import control_groups
from service.live.control_groups import memory_left
from tests.support.helpers import model_bytes, need, put
from tests.support.hostile.bombs import bomb
from tests.support.running import running_server

MEGABYTE = 2**20
RESERVE = 32
V2, V1 = control_groups._VERSIONS


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory in which version 2 is mounted, with version 1's memory controller in ``memory``."""
    roots = (replace(V2, root=tmp_path), replace(V1, root=tmp_path / "memory"))
    monkeypatch.setattr(control_groups, "_VERSIONS", roots)
    monkeypatch.setattr(control_groups, "_OWN_GROUPS", tmp_path / "own")
    return tmp_path


def describe(directory: Path, limit: str, used: int, *, cached: int = 0, mapped: int = 0, version: int = 2) -> None:
    """Write what the kernel would of a group's memory, in megabytes."""
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    prefix, mapped_name = ("", "file_mapped") if version == 2 else ("total_", "total_mapped_file")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / names[0]).write_text(limit + "\n")
    (directory / names[1]).write_text(f"{used * MEGABYTE}\n")
    rows = {f"{prefix}inactive_file": cached, f"{prefix}active_file": 0, mapped_name: mapped}
    (directory / "memory.stat").write_text("".join(f"{name} {size * MEGABYTE}\n" for name, size in rows.items()))


def belong_to(root: Path, *lines: str) -> None:
    """Say which groups this process is in."""
    (root / "own").write_text("".join(line + "\n" for line in lines))


@pytest.mark.parametrize("group", ["/", "/pod/container"], ids=["a container's view", "the host's view"])
def test_the_nearest_limit_counts(root: Path, group: str) -> None:
    """Of the group and those above it, the one that leaves least."""
    belong_to(root, f"0::{group}")
    describe(root, "max", 900)
    describe(root / group.lstrip("/"), str(400 * MEGABYTE), 100)
    if group != "/":
        describe(root / "pod", str(1000 * MEGABYTE), 100)
    assert memory_left() == (300 - RESERVE) * MEGABYTE


def test_cached_pages_are_free_unless_they_are_mapped(root: Path) -> None:
    """The kernel takes back what was only read once; the served model's pages are needed."""
    belong_to(root, "0::/")
    describe(root, str(400 * MEGABYTE), 350, cached=200, mapped=50)
    assert memory_left() == (400 - 350 + 150 - RESERVE) * MEGABYTE


def test_version_1_is_understood(root: Path) -> None:
    """Its directory of this process may not exist in a container, and "no limit" is a number there."""
    belong_to(root, "5:cpu:/a", "4:memory:/docker/7b", "0::/")
    describe(root / "memory", str(2**63 - 4096), 100, version=1)
    assert memory_left() is None
    describe(root / "memory", str(400 * MEGABYTE), 100, cached=20, version=1)
    assert memory_left() == (320 - RESERVE) * MEGABYTE


def test_without_control_groups_nothing_is_limited(root: Path) -> None:
    """Neither where the kernel has none, nor where they say nothing about memory."""
    assert memory_left() is None
    belong_to(root, "0::/somewhere", "3:memory:/else")
    assert memory_left() is None


def test_a_full_group_leaves_nothing(root: Path) -> None:
    """Never less than nothing."""
    belong_to(root, "0::/")
    describe(root, str(100 * MEGABYTE), 100)
    assert memory_left() == 0


@pytest.fixture
def group() -> Iterator[Path]:
    """Return a real control group of this machine that is limited to 400 MB."""
    for version in (V2, V1):
        own = version.root / f"als-serve-test-{os.getpid()}"
        with suppress(OSError):
            own.mkdir()
            try:
                if (own / version.limit).exists():  # and it is not a directory like any other
                    (own / version.limit).write_text(str(400 * MEGABYTE))
                    yield own
                    return
            finally:
                own.rmdir()
    need(False, "Control groups cannot be made here: run as root, outside an unprivileged container")


def test_an_import_ends_before_the_group_kills(group: Path, tmp_path: Path) -> None:
    """A file that takes more memory than the group leaves is rejected with that reason; nothing is killed."""
    path = tmp_path / "model.npz"
    served = put(path, model_bytes())
    join = 'echo $$ > "$0" && exec "$@"'
    command = ["sh", "-c", join, str(group / "cgroup.procs"), sys.executable, "-I", "-u", "-m", "service", "serve"]
    with running_server(path, tmp_path / "state", command=command, import_memory_mb=4000) as server:
        server.wait_until_serving(served)
        put(path, bomb("npz of zeros").content)
        rejected = server.wait_for("rejected", reason="import_memory")
        assert "MB that the memory limit of its container or control group leaves" in rejected["message"]
        assert server.get("/v1/model")[1]["model_version"] == served
