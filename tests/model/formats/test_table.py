"""The table of formats: a line in it, and a module with a reader, is all that a further format needs."""

from __future__ import annotations

import importlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.errors import UnknownFormatError
from service.model.formats import reading, table
from service.model.formats.foreign import foreign
from service.model.formats.table import FORMATS, Format, format_of

PATH = Path("/models/m")


@pytest.fixture
def with_new_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Add a format to the table, and the module with its reader."""
    (tmp_path / "new_format.py").write_text(
        "from service.model.raw import RawModel\ndef read(file, keys): return RawModel(missing=('everything',))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    new = Format("new", "a file of the new kind", ("new",), re.compile(b"NEW"), "new_format")
    with monkeypatch.context() as patched:
        patched.setattr(table, "FORMATS", (*FORMATS, new))
        importlib.reload(reading)
        yield
    importlib.reload(reading)


def test_a_line_makes_a_format(tmp_path: Path, with_new_format: None) -> None:
    """Once it is in the table, a format is recognized, read and named, and listed as wanted."""
    (tmp_path / "model").write_bytes(b"NEW!")
    assert format_of(tmp_path / "model") == "new"
    raw = reading.read(PATH, io.BytesIO(b"NEW!"))
    assert (raw.format, raw.missing) == ("new", ("everything",))
    with pytest.raises(UnknownFormatError, match="a pickled dict or an npz archive or a file of the new kind"):
        reading.read(PATH, io.BytesIO(b"text"))


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
