"""Lists of ids: what a file says, and what is refused."""

from __future__ import annotations

import io
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.errors import BadListError, SnapshotDamagedError
from service.model.catalog import id_list
from service.model.catalog.id_list import IDS, MANIFEST, IdList, open_id_list, read_id_list, write_id_list
from service.model.ids import MAX_ID_BYTES
from service.model.storage.source import Signature, Source

PATH = Path("list.txt")
SOURCE = Source("/list.txt", Signature("/list.txt", 1, 2, 3, 4, 5), "0" * 64)
_SPACE = " \t\v\f\r"
_IDS = st.text(st.characters(codec="utf-8", exclude_characters="\0\n\ufeff"), max_size=12)


def read(content: bytes, block: int = 2**20) -> list[str]:
    """Return the ids that a file of this content lists, if it is read in blocks of so many bytes."""
    with mock.patch.object(id_list, "_BLOCK", block):
        found: list[bytes] = read_id_list(PATH, io.BytesIO(content)).ids.tolist()
    return [each.decode() for each in found]


@given(
    st.lists(_IDS, max_size=20), st.sampled_from(["\n", "\r\n", " \n\t", "\n\n"]), st.booleans(), st.integers(64, 99)
)
@example([], "\n", True, 64)
@example(["b", "a", "b", "a b", "é"], "\r\n", False, 64)
def test_one_id_a_line(ids: list[str], newline: str, ended: bool, block: int) -> None:
    """White space around ids, blank lines, repeats and the order do not matter, nor where a block of the file ends."""
    content = newline.join(ids) + (newline if ended else "")
    expected = sorted({each.strip(_SPACE).encode() for each in ids} - {b""})
    assert [each.encode() for each in read(content.encode(), block)] == expected
    assert [each.encode() for each in read(b"\xef\xbb\xbf" + content.encode(), block)] == expected


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"a\n\xff\n", " is not UTF-8; save it as UTF-8 text with one id a line."),
        (b"a\n\xc3", " is not UTF-8; save it as UTF-8 text with one id a line."),
        (b"a\n\n  " + b"x" * 257 + b"\n", ", line 3: there is an id of more than 256 bytes; put one id on each line."),
        (b"a\nb\0c\n", ", line 2: there is a NUL byte; put one id on each line."),
        (b"x" * 3000, " has a line of more than 1000 bytes; it needs one id a line."),
        (b"a\n" * 2000, " has more than 0 MB; it needs one id a line."),
        (
            b"x" * 256 + b"\n" + b"\n".join(b"%d" % each for each in range(20)),
            "list.txt has 21 ids of up to 256 bytes,",
        ),
    ],
)
def test_what_is_not_a_list_is_refused(monkeypatch: pytest.MonkeyPatch, content: bytes, what: str) -> None:
    """The sentence says what is wrong, in which line if it is one; no file takes more memory than is allowed."""
    monkeypatch.setattr(id_list, "_BLOCK", 1000)
    monkeypatch.setattr(id_list, "MOST_BYTES", 3500)
    monkeypatch.setattr(id_list, "_MOST_ARRAY_BYTES", 5000)
    with pytest.raises(BadListError) as refused:
        read_id_list(PATH, io.BytesIO(content))
    assert what in str(refused.value)
    assert str(refused.value).startswith("list.txt")


def test_the_longest_id_is_listed() -> None:
    """An id may be as long as in a model."""
    assert read(b"x" * MAX_ID_BYTES) == ["x" * MAX_ID_BYTES]


@pytest.mark.parametrize("ids", [[], [b"a"], [b"a", b"bb"]])
def test_a_list_is_kept_on_disk(tmp_path: Path, ids: list[bytes]) -> None:
    """What was written is mapped again, the empty list too."""
    write_id_list(tmp_path, IdList(np.array(ids, np.bytes_)), SOURCE)
    opened = open_id_list(tmp_path)
    assert (opened.ids.tolist(), len(opened), opened.directory) == (ids, len(ids), tmp_path)


@pytest.mark.parametrize("ids", [np.array([b"b", b"a"]), np.array([1, 2]), np.array([[b"a"]])])
def test_a_damaged_list_is_not_opened(tmp_path: Path, ids: np.ndarray) -> None:
    """An array that is not a list of ids, or a missing one, is damage, and not a shorter list."""
    write_id_list(tmp_path, IdList(ids), SOURCE)
    with pytest.raises(SnapshotDamagedError):
        open_id_list(tmp_path)
    (tmp_path / IDS).unlink()
    with pytest.raises(SnapshotDamagedError):
        open_id_list(tmp_path)
    (tmp_path / MANIFEST).write_bytes((tmp_path / MANIFEST).read_bytes().replace(b"ids.npy", b"idz.npy"))
    with pytest.raises(SnapshotDamagedError, match="does not have"):
        open_id_list(tmp_path)
