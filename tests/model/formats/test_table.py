"""The table of formats, and that of their readers: a line in each is all that a further format needs."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from service.errors import UnknownFormatError
from service.model.formats import reading, table
from service.model.formats.foreign import foreign
from service.model.formats.reading import READERS, read
from service.model.formats.table import FORMATS, Format, format_of
from service.model.raw import RawModel

PATH = Path("/models/m")


def test_a_line_makes_a_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it and its reader are in the tables, a format is recognized, read and named, and listed as wanted."""
    raw = RawModel(missing=("everything",))
    new = Format("new", "a file of the new kind", ("new",), re.compile(b"NEW"))
    monkeypatch.setattr(table, "FORMATS", (*FORMATS, new))
    monkeypatch.setitem(reading.READERS, "new", lambda _: raw)
    (tmp_path / "model").write_bytes(b"NEW!")
    assert format_of(tmp_path / "model") == "new"
    assert read(PATH, io.BytesIO(b"NEW!")) is raw
    assert raw.format == "new"
    with pytest.raises(UnknownFormatError, match="a pickled dict or an npz archive or a file of the new kind"):
        read(PATH, io.BytesIO(b"text"))


def test_every_format_has_its_reader() -> None:
    """What is recognized can be read, and no reader waits for a format that nothing recognizes."""
    assert READERS.keys() == {known.name for known in FORMATS}


def test_no_file_is_of_two_formats() -> None:
    """Whatever the first two bytes are, one format at most begins so, and names and endings are each of one format."""
    starts = (bytes((first, second)) + rest for first in range(256) for second in range(256) for rest in RESTS)
    for start in starts:
        assert sum(bool(known.start.match(start)) for known in FORMATS) <= 1
    endings = [ending for known in FORMATS for ending in known.extensions]
    assert len(set(endings)) == len(endings)
    assert len({known.name for known in FORMATS}) == len(FORMATS)


RESTS = (b"\x03\x04", b"\x05\x06", b"\nname\n")


def test_what_is_known_to_be_something_else_is_no_format(tmp_path: Path) -> None:
    """What zstd compressed begins as a pickle may, and is not taken for one."""
    head = b"\x28\xb5\x2f\xfd"
    assert any(known.start.match(head) for known in FORMATS)
    (tmp_path / "model").write_bytes(head)
    assert format_of(tmp_path / "model") == "unrecognized"
    assert foreign(head) == "is compressed with zstd: decompress it first"
