"""The table of formats: a line in it is all that a further format needs."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from service.errors import UnknownFormatError
from service.model.formats import table
from service.model.formats.foreign import foreign
from service.model.formats.table import FORMATS, Format, format_of, read
from service.model.raw import RawModel

PATH = Path("/models/m")


def test_a_line_makes_a_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it is in the table, a format is recognized, read, named, and named among those that are wanted."""
    raw = RawModel(missing=("everything",))
    new = Format("new", "a file of the new kind", ("new",), re.compile(b"NEW"), lambda _: raw)
    monkeypatch.setattr(table, "FORMATS", (*FORMATS, new))
    (tmp_path / "model").write_bytes(b"NEW!")
    assert format_of(tmp_path / "model") == "new"
    assert read(PATH, io.BytesIO(b"NEW!")) is raw
    assert raw.format == "new"
    with pytest.raises(UnknownFormatError, match="a pickled dict or an npz archive or a file of the new kind"):
        read(PATH, io.BytesIO(b"text"))


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
