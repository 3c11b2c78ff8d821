"""The shelf: a source is imported once, the last used snapshots stay, and work in progress is never removed."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from service.errors import OutOfResourcesError, StateDirectoryError
from service.model.storage import snapshot
from service.model.storage.shelf import Shelf
from service.model.storage.source import Signature, Source
from tests.model.storage.test_snapshot import write
from tests.support.models import make_factors


def source(number: int) -> Source:
    """Return one of several sources."""
    return Source("/m", Signature("/m", 1, 2, 3, 4, 5), f"{number:016x}" + "ab" * 24)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Return an empty shelf that keeps two snapshots."""
    return Shelf(tmp_path / "state" / "snapshots", keep=2)


def fill(shelf: Shelf, number: int) -> Path:
    """Import a source, so to speak."""
    place = shelf.place_of(source(number))
    write(place, make_factors())
    manifest = place / snapshot.MANIFEST
    manifest.write_text(manifest.read_text().replace("ab" * 32, source(number).sha256))
    return place


def names(shelf: Shelf) -> set[str]:
    """Return what stands on the shelf."""
    return {found.name for found in shelf.root.iterdir()}


def test_an_imported_source_is_found_again(shelf: Shelf) -> None:
    """By its digest, and only by the whole of it: a name that merely begins alike is discarded."""
    place = fill(shelf, 1)
    assert shelf.find(source(2)) is None
    found = shelf.find(source(1))
    assert found
    assert found.version == source(1).version
    alike = Source("/m", source(1).signature, source(1).version + "cd" * 24)
    assert shelf.find(alike) is None
    assert not place.exists()


def test_a_damaged_snapshot_is_discarded(shelf: Shelf) -> None:
    """Nothing of it stays, so that the import that follows has room."""
    place = fill(shelf, 1)
    os.truncate(place / "user_ids.npy", 10)
    assert shelf.find(source(1)) is None
    assert names(shelf) == set()


def in_place_of(place: Path, what: str) -> None:
    """Put something else in the place of a snapshot, or of its manifest."""
    if what == "a manifest that is a pipe":
        (place / snapshot.MANIFEST).unlink()
        os.mkfifo(place / snapshot.MANIFEST)
        return
    if what == "a manifest of bytes":
        (place / snapshot.MANIFEST).write_bytes(b'{"source_format": "\xff"}')
        return
    shutil.rmtree(place)
    if what == "a file":
        place.write_text("in the way")
    elif what == "a loop":
        place.symlink_to(place)
    elif what == "a link to nothing":
        place.symlink_to("nowhere")
    else:
        place.mkdir()


@pytest.mark.parametrize(
    "what",
    ["a file", "a loop", "a link to nothing", "nothing", "a manifest that is a pipe", "a manifest of bytes"],
)
def test_whatever_is_in_its_place_is_discarded(shelf: Shelf, what: str) -> None:
    """It makes room for the import that follows, which is published where it was."""
    place = fill(shelf, 1)
    in_place_of(place, what)
    assert shelf.last_used() is None
    assert shelf.find(source(1)) is None
    assert names(shelf) == set()
    with shelf.staging() as staged:
        snapshot.publish(staged, place)
    assert names(shelf) == {place.name}


@pytest.mark.parametrize("what", ["a file", "a loop", "a link to nothing"])
def test_leftovers_of_any_kind_are_swept(shelf: Shelf, what: str) -> None:
    """Housekeeping never stops at something that is not a directory."""
    for name in (".discarded-1", ".staged-1"):
        (shelf.root / name).mkdir(parents=True)
        in_place_of(shelf.root / name, what)
    shelf.tidy()
    assert names(shelf) == set()


def test_what_cannot_be_read_just_now_is_kept(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Running out of file descriptors is not damage: the snapshot stays."""
    place = fill(shelf, 1)

    def exhausted(_: Path, **_options: bool) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(snapshot, "open_snapshot", exhausted)
        with pytest.raises(OutOfResourcesError, match="Too many open files"):
            shelf.find(source(1))
        assert shelf.last_used() is None
    assert place.exists()
    assert shelf.find(source(1))


def test_another_formats_snapshots_are_left_alone(shelf: Shelf) -> None:
    """A newer als-serve writes another format number: neither misreads nor removes the other's."""
    for number in (1, 2, 3):
        fill(shelf, number).rename(shelf.root / f"{snapshot.FORMAT_VERSION + number}-{source(number).version}")
    assert shelf.last_used() is None
    assert shelf.find(source(1)) is None
    shelf.tidy()
    assert len(names(shelf)) == 3


def test_an_older_formats_snapshots_go(shelf: Shelf) -> None:
    """What an older als-serve imported is imported again, and does not fill the disk for ever."""
    fill(shelf, 1).rename(shelf.root / f"{snapshot.FORMAT_VERSION - 1}-{source(1).version}")
    assert shelf.last_used() is None
    shelf.tidy()
    assert not names(shelf)


def use(shelf: Shelf, number: int) -> None:
    """Serve a snapshot."""
    found = shelf.find(source(number))
    assert found
    shelf.mark_used(found.directory)


def test_the_last_used_stay(shelf: Shelf) -> None:
    """Used is what was served last, not what was imported or looked at last; the rest is removed."""
    for number in (1, 2, 3):
        fill(shelf, number)
        use(shelf, number)
    use(shelf, 1)
    assert shelf.find(source(2))
    shelf.tidy()
    assert names(shelf) == {shelf.place_of(source(number)).name for number in (1, 3)}
    found = shelf.last_used()
    assert found
    assert found.version == source(1).version


def test_the_last_used_stay_though_the_clock_was_set_back(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of use does not depend on the wall clock going forward."""
    for number in (1, 2):
        fill(shelf, number)
        use(shelf, number)
    fill(shelf, 3)
    monkeypatch.setattr(time, "time_ns", lambda: 10**18)
    os.utime(shelf.place_of(source(3)), ns=(10**18, 10**18))
    use(shelf, 3)
    shelf.tidy()
    assert names(shelf) == {shelf.place_of(source(number)).name for number in (2, 3)}


def test_the_last_used_is_passed_over_where_it_is_damaged(shelf: Shelf) -> None:
    """At a start without a good file, the next best is served."""
    for number in (1, 2):
        fill(shelf, number)
        use(shelf, number)
    os.truncate(shelf.place_of(source(2)) / "user_ids.npy", 10)
    found = shelf.last_used()
    assert found
    assert found.version == source(1).version


def test_an_empty_shelf_has_nothing_and_needs_nothing(shelf: Shelf) -> None:
    """Before the first import there is no state directory."""
    shelf.tidy()
    assert shelf.last_used() is None
    assert shelf.find(source(1)) is None
    assert not shelf.root.exists()


def test_staged_is_removed_unless_published(shelf: Shelf) -> None:
    """Whether the import ended well or not, nothing temporary stays."""
    with shelf.staging() as staged:
        (staged / "half").write_bytes(b"half")
    assert names(shelf) == set()

    def fail() -> None:
        with shelf.staging() as staged:
            (staged / "half").write_bytes(b"half")
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert names(shelf) == set()


def test_only_dead_processes_leftovers_are_swept(shelf: Shelf) -> None:
    """What another living process has staged stays; once it was killed, it goes."""
    script = f"""
import time
from pathlib import Path
from service.model.storage.shelf import Shelf
with Shelf(Path({str(shelf.root)!r}), 2).staging() as staged:
    print(staged.name, flush=True)
    time.sleep(600)
"""
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert other.stdout
    with other.stdout:
        staged = other.stdout.readline().strip()
    shelf.tidy()
    assert names(shelf) == {staged}
    other.kill()
    other.wait()
    shelf.tidy()
    assert names(shelf) == set()


def test_half_removed_directories_are_swept(shelf: Shelf) -> None:
    """A process that was killed while it removed a snapshot left the rest under another name."""
    left = shelf.root / ".discarded-1"
    left.mkdir(parents=True)
    (left / "half").touch()
    shelf.tidy()
    assert names(shelf) == set()


def test_tidying_and_staging_at_once_take_nothing_from_each_other(shelf: Shelf) -> None:
    """A directory that was lent is never swept away, however the two interleave."""
    stop = threading.Event()

    def keep_tidying() -> None:
        while not stop.is_set():
            shelf.tidy()

    tidying = threading.Thread(target=keep_tidying)
    shelf.root.mkdir(parents=True)
    tidying.start()
    try:
        for _ in range(300):
            with shelf.staging() as staged:
                (staged / "work").write_bytes(b"work")
                assert (staged / "work").exists()
    finally:
        stop.set()
        tidying.join()
    assert names(shelf) == set()


def test_a_directory_swept_before_it_was_locked_is_staged_anew(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process tidies between the making and the locking of a staged directory."""
    swept: list[int] = []
    lock = fcntl.flock

    def sweep_first(descriptor: int, operation: int) -> None:
        if not swept:
            swept.append(descriptor)
            shelf.tidy()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    with shelf.staging() as staged:
        assert staged.is_dir()
    assert swept


def test_a_broken_state_directory_is_said(shelf: Shelf) -> None:
    """One sentence names the directory, the reason and the setting."""
    shelf.root.parent.write_text("in the way")
    with pytest.raises(StateDirectoryError) as caught, shelf.staging():
        pytest.fail("there is nothing to lend")
    assert str(caught.value) == (
        f"The state directory {shelf.root} cannot be used: Not a directory. "
        "Free space or set ALS_STATE_DIR to a writable directory."
    )


def test_a_pinned_snapshot_stays(shelf: Shelf) -> None:
    """However many are used after it, until another one is pinned or none; it is the one to go on with."""
    places = [fill(shelf, number) for number in range(1, 5)]
    shelf.mark_used(places[0])
    shelf.pin(source(1).version)
    for place in places[1:]:
        shelf.mark_used(place)
    shelf.tidy()
    assert names(shelf) == {"pinned", *(place.name for place in (places[0], *places[2:]))}
    assert shelf.pinned() == source(1).version
    last = shelf.last_used()
    assert last
    assert last.version == source(1).version
    shelf.pin(source(4).version)
    assert shelf.pinned() == source(4).version
    shelf.pin(None)
    assert shelf.pinned() is None
    for place in places[2:]:
        shelf.mark_used(place)
    shelf.tidy()
    assert places[0].name not in names(shelf)


def test_versions_of_another_reading_are_not_its_own(shelf: Shelf) -> None:
    """The same file, read in another way, is another model; of one that was never served, none can be served again."""
    place = fill(shelf, 1)
    fill(shelf, 2).rename(shelf.root / f"{shelf.place_of(source(2)).name}-0123abcd")
    (fill(shelf, 3) / "unserved").touch()
    assert shelf.kept().keys() == {source(1).version, source(3).version}
    assert shelf.served() == {source(1).version: place}
