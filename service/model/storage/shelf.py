"""The shelf of snapshots on disk: look-up by source, staging of new ones, and clean-up."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from service.errors import OutOfResourcesError, SnapshotDamagedError, StateDirectoryError
from service.files import sync_directory, written_whole
from service.model.storage import snapshot
from service.model.storage.array_files import damaged
from service.model.storage.snapshot import Snapshot
from service.model.storage.source import Source, is_lacking

_STAGED = ".staged-"
_DISCARDED = ".discarded-"
#: An empty file in a snapshot that was never served.
_UNSERVED = "unserved"
#: A file next to the snapshots with the version that a person has pinned, which so outlives its snapshot.
_PINNED = "pinned"


@dataclass(frozen=True, slots=True)
class Shelf:
    """The directory ``<state dir>/snapshots``, which keeps the ``keep`` last used snapshots.

    Several processes may share it: snapshots appear and disappear by a rename, and processes lock what they stage.
    reading: the end of the names of snapshots, another for each way to read the same file. ids_as_text: how snapshots
    are opened, see :class:`~service.model.ids.Ids`.
    """

    root: Path
    keep: int
    reading: str = ""
    ids_as_text: bool = False

    def place_of(self, source: Source) -> Path:
        """Return the path of a source's snapshot, which may not exist."""
        return self.root / (snapshot.directory_name(source) + self.reading)

    def find(self, source: Source) -> Snapshot | None:
        """Open the snapshot of a source if it was imported before; a damaged one is discarded.

        Raises StateDirectoryError, OutOfResourcesError; a snapshot that cannot be read right now is kept.
        """
        try:
            return self._find(source)
        except OSError as error:
            raise unwritable(self.root, error) from None

    def last_used(self, is_refused: Callable[[str], bool] = lambda version: False) -> Snapshot | None:
        """Open the pinned snapshot, else the last used one.

        Limited ones are skipped unless pinned, and those that were never served, are refused or cannot be opened.
        """
        pinned = self.pinned()
        for place in sorted(self._served(), key=lambda place: _version_of(place) == pinned, reverse=True):
            if is_refused(_version_of(place)):
                continue
            with suppress(SnapshotDamagedError, OSError):  # then an earlier one may be whole
                found = self.open(place)
                if not found.model.limited or _version_of(place) == pinned:
                    return found
        return None

    def mark_used(self, place: Path) -> None:
        """Mark a snapshot's directory as served from now on, so that it is kept, and served after a restart."""
        with suppress(OSError):  # a read-only state directory still works; only the order of use is lost
            (place / _UNSERVED).unlink(missing_ok=True)
            # Later than any previous use, even if the clock was set back.
            now = max([time.time_ns(), *(used.stat().st_mtime_ns + 1 for used in self.places()[:1])])
            os.utime(place, ns=(now, now))

    def kept(self) -> dict[str, Path]:
        """Return the directories of the versions, as this shelf reads them, last used first."""
        return {_version_of(place): place for place in self.places() if self._is_read_so(place)}

    def served(self) -> dict[str, Path]:
        """Return those of :meth:`kept` that were served at some time."""
        return {version: place for version, place in self.kept().items() if not is_unserved(place)}

    def pin(self, version: str | None) -> None:
        """Pin a version, or none, and no other. Raises StateDirectoryError, OutOfResourcesError."""
        path = self.root / _PINNED
        try:
            if version is None:
                path.unlink(missing_ok=True)
                return
            with written_whole(path, path.with_suffix(f".{secrets.token_hex(4)}")) as file:
                file.write(version.encode())
        except OSError as error:
            raise unwritable(self.root, error) from None

    def pinned(self) -> str | None:
        """Return the pinned version, if one is, whose snapshot may be lost."""
        with suppress(OSError):  # then none is
            return (self.root / _PINNED).read_text(encoding="ascii", errors="replace") or None
        return None

    def open(self, place: Path) -> Snapshot:
        """Map one of its directories into memory. Raises SnapshotDamagedError, OSError."""
        return snapshot.open_snapshot(place, ids_as_text=self.ids_as_text)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Yield an empty directory for a new snapshot; it is removed unless published.

        Raises StateDirectoryError, OutOfResourcesError.
        """
        try:
            staged, lock = self._stage()
        except OSError as error:
            raise unwritable(self.root, error) from None
        try:
            yield staged
        finally:
            os.close(lock)
            shutil.rmtree(staged, ignore_errors=True)

    def tidy(self) -> None:
        """Remove all but the last used and pinned ones, and leftovers of old versions and dead processes.

        Raises OSError.

        Of those that were never served, because they were refused or are about to be, the newest stays, too; several
        stay as long as there are fewer than ``keep`` others.
        """
        if not self.root.is_dir():
            return
        served = self._served()
        unserved = [place for place in self.places() if place not in served]
        spare, pinned = max(1, self.keep - len(served)), self.pinned()
        for place in [*served[self.keep :], *unserved[spare:], *self._outdated()]:
            if _version_of(place) != pinned:
                self.discard(place)
        for leftover in [*self.root.glob(_STAGED + "*"), *self.root.glob(_DISCARDED + "*")]:
            _remove_abandoned(leftover)

    def places(self) -> list[Path]:
        """Return the snapshot directories of the current format, last used first."""
        found: list[tuple[int, Path]] = []
        for place in self.root.glob(f"{snapshot.FORMAT_VERSION}-*"):
            with suppress(FileNotFoundError):  # another process may clean up at the same time
                found.append((place.lstat().st_mtime_ns, place))
        return [place for _, place in sorted(found, reverse=True)]

    def _served(self) -> list[Path]:
        """Return the directories of the snapshots that were served at some time, last used first."""
        return [place for place in self.places() if not is_unserved(place)]

    def versions(self) -> list[str]:
        """Return the versions of the snapshots, last used first."""
        return [_version_of(place) for place in self.places()]

    def discard(self, place: Path) -> None:
        """Remove a snapshot, or whatever is in its place; processes that have it mapped can still use it.

        Raises OSError.
        """
        discarded = self.root / (_DISCARDED + secrets.token_hex(8))
        with suppress(FileNotFoundError):
            place.rename(discarded)
        _remove(discarded)

    def _find(self, source: Source) -> Snapshot | None:
        place = self.place_of(source)
        if not os.path.lexists(place):
            return None
        with discarding_damage(self, place):
            found = self.open(place)
            if found.manifest.source.sha256 == source.sha256:
                return found
            raise damaged(place, "is of another file")
        return None

    def _stage(self) -> tuple[Path, int]:
        """Make an empty directory and lock it; retried if another process's clean-up removes it in between."""
        while True:
            staged = self.root / (_STAGED + secrets.token_hex(8))
            staged.mkdir(parents=True)
            with suppress(FileNotFoundError):
                lock = os.open(staged, os.O_RDONLY)
                fcntl.flock(lock, fcntl.LOCK_EX)
                if staged.exists():
                    return staged, lock
                os.close(lock)

    def _is_read_so(self, place: Path) -> bool:
        return place.name == f"{snapshot.FORMAT_VERSION}-{_version_of(place)}{self.reading}"

    def _outdated(self) -> list[Path]:
        """Return the snapshots of older formats, which are no longer used."""
        versions = range(1, snapshot.FORMAT_VERSION)
        return [place for version in versions for place in self.root.glob(f"{version}-*")]


@contextmanager
def discarding_damage(shelf: Shelf, place: Path) -> Iterator[None]:
    """Discard what cannot be opened in a block, so that it is imported again.

    Raises OSError if the system lacks resources, which says nothing about the place.
    """
    try:
        yield
    except (SnapshotDamagedError, OSError) as error:
        if isinstance(error, OSError) and is_lacking(error):
            raise
        shelf.discard(place)


def mark_unserved(staged: Path) -> None:
    """Note in a new snapshot that it was not served yet. Raises OSError."""
    (staged / _UNSERVED).touch()
    sync_directory(staged)


def is_unserved(place: Path) -> bool:
    """Return whether a snapshot was never served."""
    return (place / _UNSERVED).exists()


def _version_of(place: Path) -> str:
    return place.name.split("-")[1]


def unwritable(directory: Path, error: OSError) -> StateDirectoryError | OutOfResourcesError:
    """Return the error for an unusable state directory."""
    if is_lacking(error):
        return OutOfResourcesError(
            f"The state directory {directory} cannot be used for now: {error.strerror}; it will be retried."
        )
    return StateDirectoryError(
        f"The state directory {directory} cannot be used: {error.strerror or error}. "
        "Free space or set ALS_STATE_DIR to a writable directory."
    )


def _remove_abandoned(leftover: Path) -> None:
    """Remove a directory unless the process that staged it still lives and so holds its lock."""
    if leftover.is_symlink() or not leftover.is_dir():
        _remove(leftover)
        return
    with suppress(FileNotFoundError):
        lock = os.open(leftover, os.O_RDONLY)
        try:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(leftover, ignore_errors=True)
        finally:
            os.close(lock)


def _remove(path: Path) -> None:
    """Remove a directory, or a link or file that is in its place."""
    if path.is_symlink() or path.is_file():
        with suppress(OSError):
            path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)
