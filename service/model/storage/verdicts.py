"""The versions that a person has accepted although a gate blocked them, as files in the state directory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from service.errors import UnknownVersionError
from service.files import sync_directory
from service.model.storage.shelf import unwritable

_VERSION = re.compile("[0-9a-f]{1,16}")
_WHOLE = 16


@dataclass(frozen=True, slots=True)
class Accepted:
    """The directory ``<state dir>/accepted``, with an empty file for each accepted version."""

    root: Path

    def has(self, version: str) -> bool:
        """Return whether a version was accepted; what cannot be read was not."""
        return (self.root / version).exists()

    def add(self, version: str) -> bool:
        """Accept a version; return whether that is new. Raises StateDirectoryError, OutOfResourcesError."""
        if self.has(version):
            return False
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            (self.root / version).touch()
            sync_directory(self.root)
        except OSError as error:
            raise unwritable(self.root, error) from None
        return True


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
