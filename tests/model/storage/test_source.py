"""The model file: any change of it shows, and what was read is what was hashed."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from service.errors import (
    CorruptFileError,
    OutOfResourcesError,
    SourceChangedError,
    SourceMissingError,
    SourceTooLargeError,
    UnreadableSourceError,
)
from service.model.storage.source import (
    Signature,
    Source,
    identify,
    look,
    opened,
    path_of,
    signature,
    text_of,
    written_bytes,
)
from tests.support.spark import FIXTURES, VERSIONS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file."""
    file = tmp_path / "model"
    file.write_bytes(b"first")
    return file


def rename_over(path: Path) -> None:
    """Replace the file by another of the same size and time."""
    beside = path.with_name("beside")
    beside.write_bytes(b"other")
    os.utime(beside, ns=(0, path.stat().st_mtime_ns))
    beside.replace(path)


def rewrite(path: Path) -> None:
    """Write the same number of bytes in place, and set the time back."""
    before = path.stat().st_mtime_ns
    with path.open("r+b") as file:
        file.write(b"other")
    os.utime(path, ns=(0, before))


def lengthen(path: Path) -> None:
    """Write more bytes in place."""
    with path.open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize("change", [rename_over, rewrite, lengthen])
def test_every_change_changes_the_signature(path: Path, change: object) -> None:
    """Another inode, or the same one written to, even with its time set back."""
    assert callable(change)
    before = signature(path)
    assert signature(path) == before
    change(path)
    assert signature(path) != before


def test_a_links_target_is_part_of_the_signature(path: Path, tmp_path: Path) -> None:
    """Two hard links to the same bytes, at other places, are two signatures."""
    link, twin = tmp_path / "link", tmp_path / "twin"
    twin.hardlink_to(path)
    link.symlink_to(path)
    before = signature(link)
    assert before.realpath == str(path)
    link.unlink()
    link.symlink_to(twin)
    assert signature(link) != before


def test_the_version_is_the_start_of_the_sha256(path: Path) -> None:
    """The same bytes have the same version, wherever they stand."""
    digest = hashlib.sha256(b"first").hexdigest()
    source = identify(path)
    assert (source.sha256, source.version, source.path) == (digest, digest[:16], str(path))
    assert source.signature == signature(path)


def test_what_is_no_readable_file_is_said(tmp_path: Path) -> None:
    """Missing, a directory, a loop of links, a named pipe, empty: each has its sentence, and none blocks."""
    missing, directory, loop, pipe, empty = (tmp_path / name for name in ("no", "dir", "loop", "pipe", "empty"))
    directory.mkdir()
    loop.symlink_to(loop)
    os.mkfifo(pipe)
    empty.touch()
    with pytest.raises(SourceMissingError, match=f"^Model file not found: {missing}$"):
        identify(missing)
    for odd in (directory, pipe):
        with pytest.raises(UnreadableSourceError, match="is not a regular file"):
            identify(odd)
    with pytest.raises(UnreadableSourceError, match=r"Symlink loop|levels of symbolic links"):
        identify(loop)
    with pytest.raises(UnreadableSourceError, match=r"is empty \(0 bytes\)"):
        identify(empty)
    with pytest.raises(UnreadableSourceError, match=r"cannot be read: Not a directory\.$"):
        identify(empty / "below")


def test_a_look_never_raises(path: Path, tmp_path: Path) -> None:
    """A look returns the signature, or says why there is none, always in the same words."""
    assert look(path) == signature(path)
    assert look(tmp_path / "no") == look(tmp_path / "no") == f"Model file not found: {tmp_path / 'no'}"
    assert look(tmp_path) == f"{tmp_path} is not a regular file; put one there."


@pytest.mark.parametrize("model", ["als", "pipeline", "mlflow", "tuned", "job"])
def test_a_directory_of_spark_is_refused_with_the_command_to_run(model: str) -> None:
    """The sentence can be copied: it has the command that makes a model file."""
    path = FIXTURES / VERSIONS[-1] / model
    assert look(path) == (
        f"{path} is a directory, as Spark saves a model; make a model file of it with "
        f"als-serve convert {path} als_model.npz."
    )


def test_the_command_to_run_is_quoted_for_a_shell(tmp_path: Path) -> None:
    """A path may have blanks."""
    path = tmp_path / "our model"
    (path / "itemFactors").mkdir(parents=True)
    assert f"als-serve convert '{path}' als_model.npz." in str(look(path))


def test_a_reader_is_not_disturbed_by_a_rename(path: Path) -> None:
    """Replaced by a rename, the open file stays what it was, to the end."""
    with opened(path, signature(path)) as file:
        rename_over(path)
        assert file.read() == b"first"


@pytest.mark.parametrize("change", [rewrite, lengthen])
def test_a_reader_hears_of_a_write_in_place(path: Path, change: object) -> None:
    """Written to while it was read, even with its time set back: what was read may be neither."""
    assert callable(change)

    def read() -> None:
        with opened(path, signature(path)) as file:
            file.read(1)
            change(path)

    with pytest.raises(SourceChangedError, match="reading it again"):
        read()


def test_another_file_than_the_one_expected_is_not_read(path: Path) -> None:
    """Replaced between the look and the opening; by a named pipe too, which would block a reader."""
    seen = signature(path)
    rename_over(path)
    with pytest.raises(SourceChangedError), opened(path, seen):
        pytest.fail("it must not be read")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SourceChangedError), opened(path, seen):
        pytest.fail("it must not be read")
    path.unlink()
    with pytest.raises(SourceMissingError), opened(path, seen):
        pytest.fail("it must not be read")


def test_an_unreadable_disk_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EIO while hashing is reported with the path and the system's message, and does not reject the file."""

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("service.model.storage.source._digest", broken)
    sentence = f"^{path} cannot be read for now: Input/output error; it will be retried\\.$"
    with pytest.raises(OutOfResourcesError, match=sentence):
        identify(path)


def test_a_file_that_may_not_be_opened_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EACCES (which root never gets) is a sentence too."""

    def forbidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    seen = signature(path)
    monkeypatch.setattr(os, "open", forbidden)
    with pytest.raises(UnreadableSourceError, match=r"cannot be read: Permission denied\.$"), opened(path, seen):
        pytest.fail("it must not be read")


def test_a_signature_travels_as_json(path: Path) -> None:
    """The manifest keeps it exactly."""
    assert msgspec.json.decode(msgspec.json.encode(signature(path)), type=Signature) == signature(path)


def test_a_time_that_is_none_does_no_harm() -> None:
    """A file may say that it was written in any year; where that is none of ours, it says nothing."""
    seen = Signature("/m", 1, 2, 3, 10**18, 0)
    assert seen.modified_at == datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)
    for beyond in (253402387139 * 10**9, -(10**20)):
        assert msgspec.structs.replace(seen, mtime_ns=beyond).modified_at == datetime(1970, 1, 1, tzinfo=UTC)


def test_a_file_that_is_mostly_holes_is_refused_before_it_is_read(path: Path) -> None:
    """Its size costs its author nothing, and would cost the server minutes."""
    os.truncate(path, 2**40)
    with pytest.raises(CorruptFileError, match=r"^.* has 1099511627776 bytes, but only \d+ were ever written; copy it"):
        identify(path)


def test_a_file_with_some_holes_is_read(path: Path) -> None:
    """Copying tools and file systems turn the zeros of good models into holes."""
    with path.open("wb") as file:
        for _ in range(10):
            file.write(os.urandom(2**20))
            file.seek(2**23, os.SEEK_CUR)
        file.write(b"end")
    with path.open("rb") as file:
        assert 10 * 2**20 <= written_bytes(file.fileno()) < path.stat().st_size / 4
    assert identify(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_small_file_may_be_all_holes(path: Path) -> None:
    """What is read quickly is judged by its content."""
    os.truncate(path, 2**20)
    assert identify(path).signature.size == 2**20


def test_a_file_beyond_the_limit_is_not_read(path: Path) -> None:
    """At the limit, it still is."""
    assert identify(path, 5).signature.size == 5
    with pytest.raises(SourceTooLargeError, match="ALS_MAX_MODEL_MB"):
        identify(path, 4)


@pytest.mark.parametrize(
    "name", [b"model", b"caf\xe9", b"caf\xc3\xa9", b"%e9", b"\xff\xfe\n\x80", b"file:x", b"\xe9%41"]
)
def test_any_path_can_be_text(tmp_path: Path, name: bytes) -> None:
    """Text that JSON can have, and that gives the same path back."""
    path = tmp_path / os.fsdecode(name)
    assert path_of(text_of(path).encode().decode()) == path
    path.write_bytes(b"content")
    source = identify(path)
    assert msgspec.json.decode(msgspec.json.encode(source), type=Source) == source
    assert text_of(Path("file:///x")) == "file:/x", "no other path begins like a URI"


def test_hashing_can_be_stopped(path: Path) -> None:
    """Between two chunks."""
    with pytest.raises(SourceChangedError):
        identify(path, is_stopped=lambda: True)
