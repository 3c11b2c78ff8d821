"""Atomic files: written next to their path, synced to disk, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def written_whole(path: Path, beside: Path, *, overwrite: bool = True) -> Iterator[BinaryIO]:
    """Yield a new file ``beside`` the path, renamed to the path at the end of the block: nobody reads half a file.

    If anything fails, the path stays as it was and the new file is removed. Raises OSError; FileExistsError means that
    the path exists and must not be overwritten.
    """
    # The caller names it instead of tempfile, whose files are private, because the server may be another user.
    try:
        with synced(beside) as file:
            yield file
        take_place(beside, path, overwrite=overwrite)
    finally:
        with suppress(OSError):  # if the volume refused to create it, there is nothing to remove
            beside.unlink()


@contextmanager
def synced(path: Path) -> Iterator[BinaryIO]:
    """Yield a new file, which is synced to disk at the end of the block. Raises OSError."""
    with path.open("xb") as file:
        yield file
        sync(file)


def take_place(beside: Path, path: Path, *, overwrite: bool = True) -> None:
    """Rename a synced file, durably even across a power cut. Raises OSError, as written_whole does."""
    if overwrite:
        beside.replace(path)
    else:
        path.hardlink_to(beside)  # unlike a rename, fails if the path exists, without a race
        beside.unlink()  # at once, because it changes the `stat` of the file, which a server may be reading
    sync_directory(path.parent)


def sync(file: BinaryIO) -> None:
    """Make writes to an open file survive a power cut. Raises OSError."""
    file.flush()
    os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Make a rename or new files in a directory survive a power cut. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
