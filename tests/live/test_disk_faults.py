"""Faults while a model is read and written: the last good one is served, and nothing temporary stays."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from service.live import reloader as stores
from service.model.storage import source
from tests.support.helpers import (
    Place,
    answer,
    events,
    eventually,
    finished,
    held_back,
    is_alive,
    metric,
    model_bytes,
    mounted,
    need,
    no_descriptor_left,
    put,
    rejected,
    rejections,
    stand_in,
    until_served,
    version,
)
from tests.support.hostile.bombs import bomb
from tests.support.stores import Store

ONE, TWO, THREE = model_bytes(1), model_bytes(2), model_bytes(3)


async def test_a_file_replaced_while_it_is_read_is_read_again(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Renamed over during its import, it is given up without a rejection, and the newer one is imported."""
    async with place.serving(ONE) as store:
        waits, go = held_back(tmp_path, monkeypatch)
        put(place.path, TWO)
        await eventually(waits.exists)
        waits.unlink()
        put(place.path, THREE)
        await eventually(waits.exists)
        go.touch()
        await until_served(store, version(THREE))
        assert rejections(store) == 0
        assert [served.version for served in store.history] == [version(ONE)]


async def test_a_file_rewritten_while_it_is_read_is_read_again(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file overwritten in place between its hash and its import is read again."""
    async with place.serving(ONE) as store:
        waits, go = held_back(tmp_path, monkeypatch)
        put(place.path, TWO)
        await eventually(waits.exists)
        place.path.write_bytes(THREE)
        go.touch()
        await until_served(store, version(THREE))
        assert rejections(store) == 0


async def test_a_half_copied_file_that_goes_on_is_not_reported(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verdict on half a file is not reported if the copy went on while it was found."""
    goes_on = f"open({str(place.path)!r}, 'ab').write({ONE[2000:]!r})"
    stand_in(
        tmp_path, monkeypatch, f"import subprocess\nsubprocess.run([REAL, *sys.argv[1:]], close_fds=False)\n{goes_on}"
    )
    put(place.path, ONE[:2000])
    async with place.started() as store:
        await eventually(lambda: place.path.stat().st_size == len(ONE))
        monkeypatch.undo()
        await until_served(store, version(ONE))
        assert rejections(store) == 0


@pytest.fixture
def small_disk(place: Place) -> Iterator[Path]:
    """Put the snapshots on a disk of 512 KB."""
    place.shelf.root.mkdir(parents=True)
    with mounted("-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place.shelf.root)):
        yield place.shelf.root


async def test_a_full_disk_keeps_the_last_good_model(
    place: Place, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSPC: the model is rejected, nothing temporary stays, and once there is space the same file is served."""
    async with place.serving(ONE) as store:
        filler = small_disk / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        put(place.path, TWO)
        await eventually(lambda: rejected(store, "state_directory"))
        assert store.last_reload
        assert "No space left on device" in store.last_reload.detail
        assert store.current
        assert store.current.version == version(ONE)
        assert answer(store.current)
        await eventually(lambda: place.is_clean)
        monkeypatch.setattr(stores, "STATE_DIRECTORY_RETRY_SECONDS", 0.1)
        put(place.path, TWO)
        await eventually(lambda: rejections(store) > 2)
        filler.unlink()
        await until_served(store, version(TWO))


async def test_a_read_only_disk_keeps_the_last_good_model(place: Place, small_disk: Path) -> None:
    """A state directory that cannot be written: the model is rejected, and an imported one still opens."""
    async with place.serving(ONE) as store:
        put(place.path, TWO)
        await until_served(store, version(TWO))
        await eventually(lambda: place.is_clean)
        assert (await finished("mount", "-o", "remount,ro", str(small_disk))).returncode == 0
        put(place.path, THREE)
        await eventually(lambda: rejected(store, "state_directory"))
        assert store.current
        assert store.current.version == version(TWO)
        assert answer(store.current)
        put(place.path, ONE)
        await until_served(store, version(ONE))


@pytest.mark.parametrize("call", ["fsync", "mkdir", "rename"])
async def test_an_input_output_error_keeps_the_last_good_model(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """EIO wherever the snapshot is written: the model is rejected and nothing temporary stays."""
    need(shutil.which("strace"), "Install strace.")
    async with place.serving(ONE) as store:
        if call == "fsync":
            inject = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e", "inject=fsync:error=EIO")
            stand_in(tmp_path, monkeypatch, f"go_on(*{inject!r})")
        else:
            monkeypatch.setattr(Path, call, failing)
        put_with_os(place.path, TWO)
        await eventually(lambda: rejected(store, "state_directory"))
        assert store.last_reload
        assert "Input/output error" in store.last_reload.detail
        assert store.current
        assert store.current.version == version(ONE)
        assert answer(store.current)
        await eventually(lambda: place.is_clean)


def failing(path: Path, *_: object, **__: object) -> None:
    """Fail as a broken disk does."""
    raise OSError(errno.EIO, "Input/output error")


def put_with_os(path: Path, content: bytes) -> None:
    """Replace a file without pathlib."""
    (path.parent / "other").write_bytes(content)
    os.rename(path.parent / "other", path)  # noqa: PTH104 - Path.rename is what fails here


async def test_a_source_cut_short_after_the_load_does_no_harm(place: Place) -> None:
    """The source is never mapped, so cutting it short raises no SIGBUS; the cut file is rejected."""
    async with place.serving(ONE) as store:
        assert not is_mapped(place.path)
        before = store.current
        os.truncate(place.path, 1000)
        await eventually(lambda: rejected(store, "file_corrupt"))
        assert store.current is before
        assert before
        assert answer(before)


def is_mapped(path: Path) -> bool:
    """Say whether this process maps a file."""
    return str(path) in Path("/proc/self/maps").read_text()


async def test_a_server_killed_during_an_import_leaves_nothing(place: Place, tmp_path: Path) -> None:
    """At kill -9 the importing process ends with its parent, however busy; the next start sweeps what was staged."""
    place.path.write_bytes(bomb("a key of nested tuples").content)
    scenario = f"""
import asyncio
from tests.support.helpers import *
asyncio.run(Place(Path({str(tmp_path)!r})).store().run())
"""
    server = await asyncio.create_subprocess_exec(sys.executable, "-c", scenario, stderr=subprocess.DEVNULL)
    await eventually(lambda: children_of(server.pid))
    (child,) = children_of(server.pid)
    await eventually(lambda: not place.is_clean and is_computing(child))
    server.kill()
    await server.wait()
    await eventually(lambda: not is_alive(child))
    assert not place.is_clean
    async with place.serving(ONE):
        assert place.is_clean


def children_of(pid: int) -> list[int]:
    """Return the processes that a process's main thread has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_computing(pid: int) -> bool:
    """Say whether a process has used a second of CPU: its bomb has gone off."""
    used = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11]
    return int(used) >= os.sysconf("SC_CLK_TCK")


async def test_with_no_file_at_start_it_waits(place: Place) -> None:
    """Not ready, the reason said; the first file that appears is served."""
    async with place.started() as store:
        await eventually(lambda: rejected(store, "file_missing"))
        assert (store.current, store.state, metric(store, "als_model_ready")) == (None, "loading", 0)
        put(place.path, ONE)
        await until_served(store, version(ONE))
        assert metric(store, "als_model_ready") == 1


def postponed(store: Store) -> bool:
    """Return whether the last reload was postponed, in every place that reports it."""
    last = store.last_reload
    return (
        last is not None
        and (last.outcome, last.reason) == ("postponed", "out_of_resources")
        and bool(metric(store, "als_model_reloads_total", outcome="postponed", reason="out_of_resources"))
    )


async def test_without_a_descriptor_a_model_is_read_later(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """EMFILE does not reject the file, which is retried until it can be read."""
    monkeypatch.setattr(stores, "_FIRST_RETRY_SECONDS", 0.02)
    async with place.serving(ONE) as store:
        beside = place.path.with_name("beside")
        beside.write_bytes(TWO)
        with no_descriptor_left():
            beside.replace(place.path)
            await eventually(lambda: postponed(store) and events(caplog).count("postponed") > 1)
            assert metric(store, "als_model_last_reload_successful") == 1
            assert store.current
            assert store.current.version == version(ONE)
        await until_served(store, version(TWO))
        assert rejections(store) == 0


async def test_a_postponed_look_takes_nothing_back(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was rejected counts as rejected until the next one has been read."""
    monkeypatch.setattr(stores, "_FIRST_RETRY_SECONDS", 3600)
    async with place.serving(ONE) as store:
        put(place.path, b"bad")
        await eventually(lambda: rejected(store, "unknown_format"))
        beside = place.path.with_name("beside")
        beside.write_bytes(TWO)
        with no_descriptor_left():
            beside.replace(place.path)
            await eventually(lambda: postponed(store))
        assert metric(store, "als_model_last_reload_successful") == 0
        assert store.state == "stale"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENFILE, errno.ENOMEM, errno.EINTR])
async def test_what_passes_by_itself_is_waited_for(place: Place, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A disk or a system that fails once costs a second, not the model."""
    monkeypatch.setattr(stores, "_FIRST_RETRY_SECONDS", 0.02)
    digest, failures = source._digest, [OSError(number, os.strerror(number))]

    def failing_once(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return digest(*arguments)

    async with place.serving(ONE) as store:
        monkeypatch.setattr(source, "_digest", failing_once)
        put(place.path, TWO)
        await until_served(store, version(TWO))
        assert failures == []
        assert rejections(store) == 0


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EAGAIN, errno.ENOMEM])
async def test_a_child_that_cannot_be_started_now_is_started_later(
    place: Place, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Too many processes, or too little memory for another, do not reject the model."""
    monkeypatch.setattr(stores, "_FIRST_RETRY_SECONDS", 0.02)
    start, failures = asyncio.create_subprocess_exec, [OSError(number, os.strerror(number))]

    async def failing_once(*arguments: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return await start(*arguments, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", failing_once)
    put(place.path, ONE)
    async with place.started() as store:
        await until_served(store, version(ONE))
        assert failures == []
        assert rejections(store) == 0


async def test_a_disk_that_fails_the_child_is_asked_again(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EIO at the child's first read of the model is passed on as what it is."""
    need(shutil.which("strace"), "apt-get install strace")
    monkeypatch.setattr(stores, "_FIRST_RETRY_SECONDS", 0.02)
    failed = tmp_path / "failed"
    read_fails = ("-P", str(place.path), "-e", "trace=read", "-e", "inject=read:error=EIO:when=1")
    inject = ("strace", "-f", "-qq", "-o", "/dev/null", *read_fails)
    stand_in(
        tmp_path,
        monkeypatch,
        f"os.path.exists({str(failed)!r}) and go_on()\nopen({str(failed)!r}, 'w').close()\ngo_on(*{inject!r})",
    )
    put(place.path, ONE)
    async with place.started() as store:
        await until_served(store, version(ONE), 30)
        assert metric(store, "als_model_reloads_total", outcome="postponed", reason="out_of_resources") == 1
        assert rejections(store) == 0
