"""Arrays mapped from files, and how much of them is in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from service.model.storage.array_files import release, resident, touch


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
