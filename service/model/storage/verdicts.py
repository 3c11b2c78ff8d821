"""What was decided about versions: a person has accepted them, or their answers were bad and they are quarantined."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.errors import UnknownVersionError
from service.files import sync_directory
from service.model.storage.shelf import unwritable

_VERSION = re.compile("[0-9a-f]{1,16}")
_WHOLE = 16
_ACCEPTED, _QUARANTINED = "accepted", "quarantined"


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The directories ``accepted`` and ``quarantined`` in the state directory, with an empty file for each version."""

    state: Path

    def is_accepted(self, version: str) -> bool:
        """Return whether a person has let a version in; what cannot be read was not."""
        return (self.state / _ACCEPTED / version).exists()

    def is_quarantined(self, version: str) -> bool:
        """Return whether a version must not be served again until a person accepts it."""
        return (self.state / _QUARANTINED / version).exists()

    def accept(self, version: str) -> bool:
        """Accept a version; return whether that is new. Raises StateDirectoryError, OutOfResourcesError."""
        is_new = not self.is_accepted(version)
        with self._written():
            self._add(_ACCEPTED, version)
            self._remove(_QUARANTINED, version)  # last, so that a version is not let in by half
        return is_new

    def quarantine(self, version: str) -> None:
        """Quarantine a version. Raises StateDirectoryError, OutOfResourcesError."""
        with self._written():
            self._remove(_ACCEPTED, version)  # first, so that a person can accept what is seen to be quarantined
            self._add(_QUARANTINED, version)

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise unwritable(self.state, error) from None

    def _add(self, verdict: str, version: str) -> None:
        (self.state / verdict).mkdir(parents=True, exist_ok=True)
        (self.state / verdict / version).touch()
        sync_directory(self.state / verdict)

    def _remove(self, verdict: str, version: str) -> None:
        (self.state / verdict / version).unlink(missing_ok=True)


def whole_version(beginning: str, kept: list[str], state: Path) -> str:
    """Return the one version that begins like this: of those kept, or itself if it is whole.

    Raises UnknownVersionError if it is not the beginning of a version, or of none or several.
    """
    if not _VERSION.fullmatch(beginning):
        raise UnknownVersionError(f"{beginning[:80]!r} is not a model version: 16 hex digits, or the first few.")
    if len(beginning) == _WHOLE:
        return beginning
    found = sorted({version for version in kept if version.startswith(beginning)})
    if len(found) != 1:
        which = f"{len(found)} models kept in {state} begin" if found else f"No model kept in {state} begins"
        raise UnknownVersionError(f"{which} with {beginning}; kept: {', '.join(sorted(kept)) or 'none'}.")
    return found[0]
