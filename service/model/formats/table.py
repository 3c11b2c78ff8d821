"""The table of formats that a model file may have, told apart by content.

A further format is a module of its own with a function ``read``, and a line in :data:`FORMATS`. The module is named,
not imported, because a server recognizes formats and reads none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from service.model.formats.foreign import foreign

UNRECOGNIZED = "unrecognized"

#: So many bytes tell one format from another.
HEAD = 1024


@dataclass(frozen=True, slots=True)
class Format:
    """What a format is called where models are described, and in sentences; how its files begin, and what reads them.

    extensions: how names of such files end in S3, without the dot; the first is what we name them. reader: the module
    whose ``read`` takes an open file and returns a RawModel.
    """

    name: str
    description: str
    extensions: tuple[str, ...]
    start: re.Pattern[bytes]
    reader: str


#: Protocol 2 and later; a dict or list of protocols 0 and 1; a class by its name, of protocols 0 and 1.
_PICKLE = re.compile(rb"\x80[\x02-\xff]|[(}\]]|c[\w.]+\n[\w.]+\n")
#: How a zip archive begins, an empty one too.
_ZIP = re.compile(rb"PK\x03\x04|PK\x05\x06")

FORMATS = (
    Format("pickle", "a pickled dict", ("pkl", "pickle"), _PICKLE, "service.model.formats.pickle"),
    Format("npz", "an npz archive", ("npz",), _ZIP, "service.model.formats.npz"),
)


def format_of(path: Path) -> str:
    """Name the format that a file seems to have by its first bytes; "unrecognized" where it is none."""
    try:
        with path.open("rb") as file:
            found = recognized(file.read(HEAD))
    except OSError:
        return UNRECOGNIZED
    return found.name if found else UNRECOGNIZED


def recognized(head: bytes) -> Format | None:
    """Return the format of a file that begins with these bytes, or None."""
    if foreign(head):  # first, for some of it begins as a pickle may
        return None
    return next((known for known in FORMATS if known.start.match(head)), None)
