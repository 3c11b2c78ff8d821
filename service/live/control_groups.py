"""The memory that the limits of this process's control groups, such as a container's, leave to a child process."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

#: Left to the server itself.
_RESERVE = 32 * 2**20
#: Version 1 writes a number near 2^63 where there is no limit.
_UNLIMITED = 2**60
_OWN_GROUPS = Path("/proc/self/cgroup")


@dataclass(frozen=True, slots=True)
class _Version:
    """Where one version of control groups states limit and use; of memory.stat, which rows are cached and mapped."""

    root: Path
    controller: str
    limit: str
    usage: str
    cached: tuple[str, str]
    mapped: str


_VERSIONS = (
    _Version(
        *(Path("/sys/fs/cgroup"), "", "memory.max", "memory.current"), ("inactive_file", "active_file"), "file_mapped"
    ),
    _Version(
        *(Path("/sys/fs/cgroup/memory"), "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
        ("total_inactive_file", "total_active_file"),
        "total_mapped_file",
    ),
)


def memory_left() -> int | None:
    """Return the bytes that may be used before a control group's limit is reached; None if there is no limit.

    Cached pages of files count as free, except those that processes have mapped: the served model stays in memory.
    """
    try:
        groups = [line.split(":", 2) for line in _OWN_GROUPS.read_text().splitlines()]
    except OSError:
        return None
    left = [
        found
        for _, controllers, path in groups
        for version in _VERSIONS
        if version.controller in controllers.split(",")
        for directory in _with_parents(version.root, path)
        if (found := _left_in(directory, version)) is not None
    ]
    return max(0, min(left) - _RESERVE) if left else None


def _with_parents(root: Path, path: str) -> list[Path]:
    """Return a group's directory and those above it; a container may have its own group at the root."""
    group = root / path.lstrip("/")
    return [group, *(parent for parent in group.parents if parent.is_relative_to(root))]


def _left_in(directory: Path, version: _Version) -> int | None:
    with suppress(OSError, ValueError):  # the file does not exist, or says "max"
        limit = int((directory / version.limit).read_text())
        used = int((directory / version.usage).read_text())
        rows = (line.split() for line in (directory / "memory.stat").read_text().splitlines())
        facts = {name: int(value) for name, value in rows}
        cached = sum(facts[name] for name in version.cached)
        if limit < _UNLIMITED:
            return limit - used + max(0, cached - facts[version.mapped])
    return None
