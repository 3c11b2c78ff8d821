"""The table of formats that a model file may have, told apart by content, and what opens a file with it.

A further format is a module with its reader, and a line in :data:`FORMATS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from service.errors import UnknownFormatError, UnreadableSourceError
from service.model.formats import npz, pickle
from service.model.formats.foreign import foreign, unrecognized
from service.model.raw import RawModel
from service.model.storage.source import unreadable

UNRECOGNIZED = "unrecognized"

_HEAD = 1024


@dataclass(frozen=True, slots=True)
class Format:
    """What a format is called where models are described, and in sentences; how its files begin, what reads them.

    extensions: how names of such files end in S3, without the dot; the first is what we name them.
    """

    name: str
    description: str
    extensions: tuple[str, ...]
    start: re.Pattern[bytes]
    read: Callable[[BinaryIO], RawModel]


FORMATS = (
    Format("pickle", "a pickled dict", ("pkl", "pickle"), pickle.START, pickle.read_pickle),
    Format("npz", "an npz archive", ("npz",), npz.START, npz.read_npz),
)


def read(path: Path, file: BinaryIO) -> RawModel:
    """Read a model from an open file that stands at its first byte; ``path`` is what messages call it.

    Raises UnreadableSourceError, OutOfResourcesError, UnknownFormatError and what the readers raise: CorruptFileError,
    UnsafePickleError, BadDtypeError, BadShapeError, BadIdsError, BadSeenMatrixError, MemoryError.
    """
    try:
        head = file.read(_HEAD)
        file.seek(0)
        if not head:
            raise UnreadableSourceError(f"{path} is empty (0 bytes).")
        return _read(head, file)
    except OSError as error:
        raise unreadable(path, error) from error


def format_of(path: Path) -> str:
    """Name the format that a file seems to have by its first bytes; "unrecognized" where it is none."""
    try:
        with path.open("rb") as file:
            found = _recognized(file.read(_HEAD))
    except OSError:
        return UNRECOGNIZED
    return found.name if found else UNRECOGNIZED


def _read(head: bytes, file: BinaryIO) -> RawModel:
    found = _recognized(head)
    if found is None:
        wanted = " or ".join(known.description for known in FORMATS)
        raise UnknownFormatError(f"The file {foreign(head) or unrecognized(head)}; a model is {wanted}.")
    raw = found.read(file)
    raw.format = found.name
    return raw


def _recognized(head: bytes) -> Format | None:
    if foreign(head):  # first, for some of it begins as a pickle may
        return None
    return next((known for known in FORMATS if known.start.match(head)), None)
