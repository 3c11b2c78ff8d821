"""Reading a model file of any known format, in child processes only, because the files are untrusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import BinaryIO

from service.errors import UnknownFormatError, UnreadableSourceError
from service.model.formats import table
from service.model.formats.foreign import foreign, unrecognized
from service.model.raw import RawModel
from service.model.storage.source import unreadable

# All readers are imported now, because a confined child cannot import anything later.
_READERS: dict[str, Callable[[BinaryIO, Mapping[str, str]], RawModel]] = {
    known.name: import_module(known.reader).read for known in table.FORMATS
}


def read(path: Path, file: BinaryIO, keys: Mapping[str, str] | None = None) -> RawModel:
    """Read a model from an open file at its first byte; ``path`` is its name in messages.

    keys: the keys of a pickled dict in the file, by ours.

    Raises UnreadableSourceError, OutOfResourcesError, UnknownFormatError and the readers' errors: CorruptFileError,
    UnsafePickleError, BadDtypeError, BadShapeError, BadIdsError, BadSeenMatrixError, MemoryError.
    """
    try:
        head = file.read(table.HEAD)
        file.seek(0)
        if not head:
            raise UnreadableSourceError(f"{path} is empty (0 bytes).")
        return _read(head, file, keys or {})
    except OSError as error:
        raise unreadable(path, error) from error


def _read(head: bytes, file: BinaryIO, keys: Mapping[str, str]) -> RawModel:
    found = table.recognized(head)
    if found is None:
        wanted = " or ".join(known.description for known in table.FORMATS)
        raise UnknownFormatError(f"The file {foreign(head) or unrecognized(head)}; a model is {wanted}.")
    raw = _READERS[found.name](file, keys)
    raw.format = found.name
    return raw
