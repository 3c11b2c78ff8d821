"""The snapshots kept on disk: finding one by its source, making room for a new one, and tidying up."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from service.errors import SnapshotDamagedError, StateDirectoryError
from service.model import snapshot
from service.model.snapshot import Snapshot
from service.model.source import Source

_STAGED = ".staged-"
_DISCARDED = ".discarded-"


@dataclass(frozen=True, slots=True)
class Shelf:
    """The directory ``<state dir>/snapshots``, of which the ``keep`` last used snapshots stay.

    Several processes may share it: a snapshot appears and disappears by one rename, and what a living process
    has staged is locked by it.
    """

    root: Path
    keep: int

    def place_of(self, source: Source) -> Path:
        """Return where the snapshot of a source stands, or would."""
        return self.root / snapshot.directory_name(source)

    def find(self, source: Source) -> Snapshot | None:
        """Open the snapshot of a source if it was imported before; a damaged one is discarded."""
        place = self.place_of(source)
        if not place.exists():
            return None
        try:
            return self._open(place)
        except SnapshotDamagedError:
            self._discard(place)
            return None

    def last_used(self) -> Snapshot | None:
        """Open the snapshot that was used last, passing over damaged ones."""
        for place in self._places():
            with suppress(SnapshotDamagedError):
                return self._open(place)
        return None

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Lend an empty directory to write a snapshot into; nothing of it stays unless it was published.

        Raises StateDirectoryError.
        """
        try:
            staged = self.root / (_STAGED + secrets.token_hex(8))
            staged.mkdir(parents=True)
            lock = os.open(staged, os.O_RDONLY)
        except OSError as error:
            raise unwritable(self.root, error) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield staged
        finally:
            os.close(lock)
            shutil.rmtree(staged, ignore_errors=True)

    def tidy(self) -> None:
        """Remove all but the last used snapshots, and what killed processes left behind. Raises OSError."""
        if not self.root.is_dir():
            return
        for place in self._places()[self.keep :]:
            self._discard(place)
        for leftover in [*self.root.glob(_STAGED + "*"), *self.root.glob(_DISCARDED + "*")]:
            if not _locked(leftover):
                shutil.rmtree(leftover, ignore_errors=True)

    def _open(self, place: Path) -> Snapshot:
        opened = snapshot.open_snapshot(place)
        with suppress(OSError):  # a read-only state directory still serves; only the order of use is lost
            os.utime(place)
        return opened

    def _places(self) -> list[Path]:
        """Return the snapshot directories of our format, the last used first."""
        found: list[tuple[int, Path]] = []
        for place in self.root.glob(f"{snapshot.FORMAT_VERSION}-*"):
            with suppress(FileNotFoundError):  # another process may tidy at the same time
                found.append((place.stat().st_mtime_ns, place))
        return [place for _, place in sorted(found, reverse=True)]

    def _discard(self, place: Path) -> None:
        """Remove a snapshot at once for newcomers; who has it mapped keeps it."""
        discarded = self.root / (_DISCARDED + secrets.token_hex(8))
        with suppress(FileNotFoundError):
            place.rename(discarded)
        shutil.rmtree(discarded, ignore_errors=True)


def unwritable(directory: Path, error: OSError) -> StateDirectoryError:
    """Say that the state directory cannot be used, and why."""
    return StateDirectoryError(
        f"The state directory {directory} cannot be used: {error.strerror or error}. "
        "Free space or set ALS_STATE_DIR to a directory that can be written."
    )


def _locked(staged: Path) -> bool:
    """Say whether the process that staged this directory is still alive (its lock ends with it)."""
    try:
        lock = os.open(staged, os.O_RDONLY)
    except OSError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(lock)
