"""Files that appear whole or not at all: written beside their path, synced to disk, then given their name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def written_whole(path: Path, beside: Path, *, overwrite: bool = True) -> Iterator[BinaryIO]:
    """Lend a new file ``beside`` the path, which takes the path at the end of the block: nobody reads half a file.

    Where anything fails, the path stays as it was, and nothing remains of the new file. Raises OSError, of which
    FileExistsError says that the path is taken and must not be overwritten.
    """
    # The caller names it, not tempfile, whose files no other user may read, and the server may well be one.
    try:
        with synced(beside) as file:
            yield file
        take_place(beside, path, overwrite=overwrite)
    finally:
        with suppress(OSError):  # on a volume that refused it, there is nothing either
            beside.unlink()


@contextmanager
def synced(path: Path) -> Iterator[BinaryIO]:
    """Lend a new file; what the block wrote is on the disk at its end. Raises OSError."""
    with path.open("xb") as file:
        yield file
        sync(file)


def take_place(beside: Path, path: Path, *, overwrite: bool = True) -> None:
    """Give a synced file its name, so that it has it after a power cut too. Raises OSError, as written_whole does."""
    if overwrite:
        beside.replace(path)
    else:
        path.hardlink_to(beside)  # unlike a rename, refused where anything stands there, even just now
        beside.unlink()  # at once, for it changes what `stat` says of the file, which a server may be reading
    sync_directory(path.parent)


def sync(file: BinaryIO) -> None:
    """Make what was written to an open file survive a power cut. Raises OSError."""
    file.flush()
    os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Make a rename or new files in a directory survive a power cut. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
