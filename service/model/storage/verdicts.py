"""What was decided about versions: a person has accepted them, or their answers were bad and they are quarantined."""

from __future__ import annotations

import re
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
        self._move(version, _QUARANTINED, _ACCEPTED)
        return is_new

    def quarantine(self, version: str) -> None:
        """Quarantine a version. Raises StateDirectoryError, OutOfResourcesError."""
        self._move(version, _ACCEPTED, _QUARANTINED)

    def _move(self, version: str, source: str, target: str) -> None:
        try:
            # Removed first: once a verdict can be seen, the opposite one may follow at once, and must be the last.
            (self.state / source / version).unlink(missing_ok=True)
            (self.state / target).mkdir(parents=True, exist_ok=True)
            (self.state / target / version).touch()
            sync_directory(self.state / target)
        except OSError as error:
            raise unwritable(self.state, error) from None


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
        raise UnknownVersionError(f"{which} with {beginning}; {', '.join(sorted(kept)) or 'none'} are kept.")
    return found[0]
