"""The import process: however it ends, the server gets one reason and no leftovers."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from service.environment import child_environment
from service.errors import (
    ImportCpuError,
    ImportCrashedError,
    ImportMemoryError,
    ImportTimeoutError,
    ModelRejectedError,
    SourceChangedError,
    StateDirectoryError,
    UnknownFormatError,
)
from service.live.importing import ImportLimits, import_in_child
from service.model.storage import snapshot
from service.model.storage.shelf import Shelf
from service.model.storage.snapshot import FORMAT_VERSION
from service.model.storage.source import Source, identify
from tests.support.helpers import Place, eventually, is_alive, model_bytes, put, stand_in
from tests.support.hostile.bombs import BOMBS, bomb

pytestmark = pytest.mark.usefixtures("children_are_measured")


def source_of(place: Place, content: bytes) -> Source:
    """Put a file of this content into its place and identify it."""
    put(place.path, content)
    return identify(place.path)


async def refused(place: Place, kind: type[ModelRejectedError]) -> str:
    """Import a model that is rejected in this way, and return the sentence; nothing temporary may stay."""
    with pytest.raises(kind) as caught:
        await import_in_child(identify(place.path), place.shelf, place.limits)
    assert type(caught.value) is kind
    assert not list(place.shelf.root.iterdir())
    return str(caught.value)


async def test_a_good_model_is_on_the_shelf_afterwards(place: Place) -> None:
    """An import leaves one snapshot directory, and says how long each phase took."""
    source = source_of(place, model_bytes())
    await import_in_child(source, place.shelf, place.limits)
    assert [found.name for found in place.shelf.root.iterdir()] == [f"{FORMAT_VERSION}-{source.version}"]
    found = place.shelf.find(source)
    assert found
    assert list(found.manifest.seconds) == ["read", "validate", "arrange", "analyse", "write"]


async def test_a_rejection_keeps_its_kind_and_sentence(place: Place) -> None:
    """What the child finds wrong is raised in the server as if it had been found there."""
    put(place.path, b"<html>502 Bad Gateway</html>")
    assert "HTML page" in await refused(place, UnknownFormatError)


async def test_a_source_replaced_since_it_was_hashed_is_not_imported(place: Place) -> None:
    """What is read is the very file that was hashed, or nothing: a version never names other bytes."""
    source = source_of(place, model_bytes(1))
    put(place.path, model_bytes(2))
    with pytest.raises(SourceChangedError):
        await import_in_child(source, place.shelf, place.limits)


@pytest.mark.parametrize("name", BOMBS)
async def test_a_bomb_hurts_only_the_child(place: Place, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory, CPU and stack bombs each have their own reason, under the limits that hold where none is set."""
    file = bomb(name)
    put(place.path, file.content)
    place.limits = replace(place.limits, timeout_seconds=120)
    if file.error is ImportCpuError:  # sooner than after half of the timeout
        monkeypatch.setattr(ImportLimits, "cpu_seconds", lambda *_: 2)
    assert str(place.path) in await refused(place, file.error)


async def test_the_memory_limit_can_be_set(place: Place) -> None:
    """A model that needs more than ALS_IMPORT_MEMORY_MB is rejected, and the sentence names the setting."""
    put(place.path, bomb("npz of zeros").content)
    place.limits = replace(place.limits, memory_mb=500)
    sentence = await refused(place, ImportMemoryError)
    assert sentence == (
        f"{place.path} needs more than 500 MB of address space to import; "
        "raise ALS_IMPORT_MEMORY_MB if you trust the file."
    )


def test_the_memory_limit_follows_the_size(place: Place) -> None:
    """Unset, the limit is 8 times the file and a gigabyte."""
    assert place.limits.memory_bytes(1000) == 8000 + 2**30
    assert replace(place.limits, memory_mb=7).memory_bytes(1000) == 7 * 2**20


@pytest.mark.parametrize(("megabytes", "seconds"), [(0, 20), (20, 20), (150, 150), (300, 300), (3000, 300)])
def test_the_cpu_limit_follows_the_size(place: Place, megabytes: int, seconds: int) -> None:
    """A small file that takes long is stopped soon, and no file gets more than half of the timeout."""
    assert replace(place.limits, timeout_seconds=600).cpu_seconds(megabytes * 2**20) == seconds
    assert replace(place.limits, timeout_seconds=10).cpu_seconds(megabytes * 2**20) == 5


async def test_a_child_that_hangs_is_killed_at_the_timeout(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that neither computes nor answers is killed and reaped."""
    pid = tmp_path / "pid"
    stand_in(tmp_path, monkeypatch, f"open({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)")
    place.limits = replace(place.limits, timeout_seconds=0.5)
    put(place.path, model_bytes())
    assert "was not imported within 0.5 s" in await refused(place, ImportTimeoutError)
    assert not is_alive(int(pid.read_text()))


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("os.kill(os.getpid(), 9)", "was killed by SIGKILL, most likely because memory ran out."),
        ("os.kill(os.getpid(), 11)", "was killed by SIGSEGV."),
        ("sys.exit('no such module')", "failed with exit code 1; its last output is in the log."),
        ("pass", "ended without an answer."),
        ("print('{\"code\": 7}')", "ended without an answer."),
        ('print(\'{"code": "of no error"}\')', "ended without an answer."),
    ],
)
async def test_a_child_that_ends_badly_is_a_rejected_model(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, sentence: str
) -> None:
    """A signal, an exit code, no answer or a garbled one: the model is rejected and the sentence says which."""
    stand_in(tmp_path, monkeypatch, body)
    put(place.path, model_bytes())
    assert await refused(place, ImportCrashedError) == f"The import process for {place.path} {sentence}"


async def test_a_child_that_cannot_start_is_a_rejected_model(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without processes, memory or files to start one: the model is rejected."""
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    put(place.path, model_bytes())
    assert "could not be started: No such file or directory." in await refused(place, ImportCrashedError)


async def test_a_child_that_never_stops_talking_takes_no_memory(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of what a child writes, only the last is kept and logged."""
    stand_in(tmp_path, monkeypatch, "sys.stderr.write('x' * 10**7 + 'last words')\nsys.stdout.write('y' * 10**7)")
    put(place.path, model_bytes())
    await refused(place, ImportCrashedError)
    assert "last words" in caplog.text
    assert len(caplog.text) < 20_000


async def test_cancelled_it_leaves_no_child_and_no_file(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM during an import: the child is killed and reaped, and what it staged is removed."""
    pid = tmp_path / "pid"
    stand_in(tmp_path, monkeypatch, f"open({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)")
    source = source_of(place, model_bytes())
    task = asyncio.create_task(import_in_child(source, place.shelf, place.limits))
    await eventually(lambda: pid.exists() and pid.read_text())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not is_alive(int(pid.read_text()))
    assert place.is_clean


@pytest.mark.parametrize("steps", range(12))
async def test_cancelled_at_any_step_it_leaves_no_file(place: Place, steps: int) -> None:
    """Cancelled while it stages, starts or waits: nothing temporary stays."""
    task = asyncio.create_task(import_in_child(source_of(place, model_bytes()), place.shelf, place.limits))
    for _ in range(steps):
        await asyncio.sleep(0.002)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert place.is_clean


async def test_the_child_knows_no_secret(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that reads untrusted bytes has no credential in its environment to give away."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("ALS_S3_URI", "s3://secret")
    written = tmp_path / "environment"
    stand_in(tmp_path, monkeypatch, f"import json\njson.dump(dict(os.environ), open({str(written)!r}, 'w'))\ngo_on()")
    limits = ImportLimits(60, 0, child_environment())
    await import_in_child(source_of(place, model_bytes()), place.shelf, limits)
    known = json.loads(written.read_text())
    assert "secret" not in str(known)
    assert known["OPENBLAS_NUM_THREADS"] == "1"


async def test_two_imports_of_one_source_end_with_one_directory(place: Place) -> None:
    """Two processes that import the same file at once do not disturb each other."""
    source = source_of(place, model_bytes())
    await asyncio.gather(*(import_in_child(source, place.shelf, place.limits) for _ in range(2)))
    assert [found.name for found in place.shelf.root.iterdir()] == [f"{FORMAT_VERSION}-{source.version}"]
    found = place.shelf.find(source)
    assert found
    snapshot.verify(found.directory)


async def test_a_state_directory_that_cannot_be_made_is_a_rejection(place: Place) -> None:
    """A file where the state directory should be: the sentence names the directory and the setting."""
    put(place.path, model_bytes())
    place.shelf.root.parent.write_text("in the way")
    with pytest.raises(StateDirectoryError, match="set ALS_STATE_DIR"):
        await import_in_child(identify(place.path), place.shelf, place.limits)


async def test_a_stop_while_the_directory_is_being_made_leaves_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled before the child has even started: what was staged is removed."""
    source, entered, go_on = source_of(place, model_bytes(1)), threading.Event(), threading.Event()
    stage = Shelf._stage

    def slow(shelf: Shelf) -> tuple[Path, int]:
        staged = stage(shelf)
        entered.set()
        go_on.wait(10)
        return staged

    monkeypatch.setattr(Shelf, "_stage", slow)
    importing = asyncio.create_task(import_in_child(source, place.shelf, place.limits))
    await asyncio.to_thread(entered.wait, 10)
    importing.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await importing
    assert list(place.shelf.root.iterdir()) == []
