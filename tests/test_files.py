"""Atomic writing of files."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from service.files import written_whole


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a path where a file stands already."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    return path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what is done to files and directories from now on, in order."""
    done: list[str] = []

    def noted(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(first: object, *rest: object) -> object:
            of = "directory" if isinstance(first, int) and Path(f"/proc/self/fd/{first}").is_dir() else "file"
            done.append(f"{name} {of}")
            return real(first, *rest)

        return call

    monkeypatch.setattr(os, "fsync", noted("sync", os.fsync))
    monkeypatch.setattr(Path, "replace", noted("rename", Path.replace))
    monkeypatch.setattr(Path, "hardlink_to", noted("link", Path.hardlink_to))
    return done


def test_a_file_is_seen_once_it_is_whole(path: Path) -> None:
    """Until the block ends the path has the old file, then all of the new one, and nothing stands beside it."""
    with written_whole(path, path.with_name("new")) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_content_name_and_directory_survive_a_power_cut(path: Path, calls: list[str]) -> None:
    """The bytes are on the disk before the file has its name, and the name is before anybody learns of it."""
    with written_whole(path, path.with_name("new")) as file:
        file.write(b"new")
    assert calls == ["sync file", "rename file", "sync directory"]


def test_nothing_is_overwritten_that_must_not_be(path: Path, calls: list[str]) -> None:
    """Where the path is taken, what stands there stays; where it is free, it is linked, never renamed."""
    with pytest.raises(FileExistsError), written_whole(path, path.with_name("new"), overwrite=False) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    path.unlink()
    with written_whole(path, path.with_name("new"), overwrite=False) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]
    assert calls == ["sync file", "link file", "sync file", "link file", "sync directory"]


def test_a_block_that_fails_leaves_nothing(path: Path) -> None:
    """Whatever is raised while it is written goes on, the old file stays and nothing remains of the new one."""

    def fail_half_way() -> None:
        with written_whole(path, path.with_name("new")) as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail_half_way()
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_a_disk_that_fails_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that could not be synced does not get its name."""

    def failing(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output error"), written_whole(path, path.with_name("new")) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]
