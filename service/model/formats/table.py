"""The table of model file formats, which are detected from the content.

To add a format, write a module with a function ``read`` and add a line to :data:`FORMATS`. The module is named, not
imported, because a server only detects formats and never reads them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from service.model.formats.foreign import foreign

UNRECOGNIZED = "unrecognized"

#: The number of bytes needed to detect a format.
HEAD = 1024


@dataclass(frozen=True, slots=True)
class Format:
    """A format: its name in facts and in messages, how its files begin, and its reader.

    extensions: file extensions in S3, without the dot; new files get the first. reader: the module whose ``read`` takes
    an open file and the keys of a pickled dict, and returns a RawModel.
    """

    name: str
    description: str
    extensions: tuple[str, ...]
    start: re.Pattern[bytes]
    reader: str


#: Protocol 2 and later; a dict or list of protocols 0 and 1; a class by its name, of protocols 0 and 1.
_PICKLE = re.compile(rb"\x80[\x02-\xff]|[(}\]]|c[\w.]+\n[\w.]+\n")
#: How a zip archive begins, even an empty one.
_ZIP = re.compile(rb"PK\x03\x04|PK\x05\x06")

FORMATS = (
    Format("pickle", "a pickled dict", ("pkl", "pickle"), _PICKLE, "service.model.formats.pickle"),
    Format("npz", "an npz archive", ("npz",), _ZIP, "service.model.formats.npz"),
)


def format_of(path: Path) -> str:
    """Return the name of a file's format, detected from its first bytes, or "unrecognized"."""
    try:
        with path.open("rb") as file:
            found = recognized(file.read(HEAD))
    except OSError:
        return UNRECOGNIZED
    return found.name if found else UNRECOGNIZED


def recognized(head: bytes) -> Format | None:
    """Return the format of a file that begins with these bytes, or None."""
    if foreign(head):  # checked first, because some of these begin like a pickle
        return None
    return next((known for known in FORMATS if known.start.match(head)), None)
