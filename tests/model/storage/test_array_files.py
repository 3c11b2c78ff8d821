"""Arrays mapped from files, and how much of them is in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from service.model.storage.array_files import resident


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
