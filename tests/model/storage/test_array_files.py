"""Arrays mapped from files, and how much of them is in memory."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from service.model.storage.array_files import FileFacts, map_array, release, resident, sha256_of, touch
from tests.support.helpers import no_descriptor_left


def test_only_pages_in_memory_are_resident(tmp_path: Path) -> None:
    """What nobody has read of a file is not resident; what was read is, in whole pages, up to its own size."""
    path, size = tmp_path / "sparse", 64 * 1024 * 1024 + 100
    with path.open("wb") as file:
        file.truncate(size)
    mapped = np.memmap(path, np.uint8, mode="r")
    assert resident(mapped) == 0
    assert mapped[size // 2] == 0
    assert 0 < resident(mapped) < size / 2
    mapped[::4096].sum()
    assert resident(mapped) == size
    assert resident(mapped[-10:]) == 10
    assert resident(mapped[:0]) == 0


def test_what_a_system_refuses_is_not_damage(tmp_path: Path) -> None:
    """A file that cannot be opened now is good, so no message says to delete it."""
    path = tmp_path / "numbers.npy"
    np.save(path, np.arange(3))
    facts = FileFacts(path.stat().st_size, sha256_of(path))
    with no_descriptor_left(), pytest.raises(OSError, match="Too many open files") as raised:
        map_array(path, facts)
    assert raised.value.errno == errno.EMFILE
    assert map_array(path, facts).tolist() == [0, 1, 2]


def mapped_kilobytes(path: Path) -> int:
    """Return how much of a file this process has in its memory map, as the kernel counts it."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    assert any(line.endswith(str(path)) for line in lines)
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))


def test_what_is_released_can_be_unmapped_at_once(tmp_path: Path) -> None:
    """No page is left that Python would have to unmap; the array can still be read, and what is not a file's stays."""
    path, numbers = tmp_path / "numbers.npy", np.arange(2**20)
    np.save(path, numbers)
    mapped = np.asarray(np.load(path, mmap_mode="r")).view(np.ndarray)
    touch(mapped)
    assert mapped_kilobytes(path) >= numbers.nbytes // 1024
    for array in (mapped[10:], mapped, numbers):
        release(array)
    assert mapped_kilobytes(path) == 0
    assert np.array_equal(mapped, numbers)
    assert numbers[-1] == 2**20 - 1
