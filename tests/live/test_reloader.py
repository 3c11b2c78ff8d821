"""The reloader: refusals, retries and the history of reloads."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from service.errors import AlsServeError, BadTokensError
from service.live.loader import Loader
from service.live.reading import Reading
from service.live.reloader import Reloader
from service.live.report import Reload
from service.model.storage.source import Source, identify
from tests.support.helpers import at_work, eventually, put


class Words(Loader[str]):
    """Loads a word from a file; "bad" is rejected when it is read, "unfit" when it is compared with what is served."""

    def __init__(self) -> None:
        self.served: list[str] = []
        self.warmed: list[str] = []
        self.without: list[str] = []
        self.fits: set[str] = set()
        self._sha256 = ""

    async def serves(self, source: Source) -> bool:
        """Compare contents."""
        return self._sha256 == source.sha256

    async def obtain(self, source: Source, reading: Reading) -> str:
        """Read the word."""
        word = await asyncio.to_thread(Path(source.path).read_text)
        if word == "bad":
            raise BadTokensError("It is bad.")
        return word

    async def admit(self, loaded: str, reading: Reading) -> None:
        """Reject the one that does not fit."""
        if loaded == "unfit" and loaded not in self.fits:
            raise BadTokensError(f"It does not fit {self.served[-1]}.")

    async def warm(self, loaded: str, reading: Reading) -> None:
        """Remember the word."""
        self.warmed.append(loaded)

    def hand_over(self, loaded: str, reading: Reading) -> None:
        """Serve the word."""
        self.served.append(loaded)

    def concluded(self, reload: Reload, error: AlsServeError | None) -> None:
        """Take note of nothing."""

    async def do_without(self, reason: str) -> None:
        """Remember why."""
        self.without.append(reason)


@pytest.fixture
def words() -> Words:
    """Return a loader."""
    return Words()


@pytest.fixture
def reloader(tmp_path: Path, words: Words) -> Reloader[str]:
    """Return a reloader of a file that is not there yet."""
    return Reloader(tmp_path / "word", words, 0.05)


async def take(reloader: Reloader[str], content: str) -> Reload:
    """Have a file looked at, and return how that ended."""
    put(reloader.path, content.encode())
    await reloader.look()
    assert reloader.last
    return reloader.last


async def test_whatever_rejects_a_file_leaves_what_is_served(reloader: Reloader[str], words: Words) -> None:
    """Read, compared or missing: the reason is kept, and a good file after it is served."""
    async with at_work(reloader.run()):
        assert (await take(reloader, "one")).outcome == "swapped"
        assert (await take(reloader, "bad")).detail == "It is bad."
        assert (await take(reloader, "unfit")).detail == "It does not fit one."
        reloader.path.unlink()
        await reloader.look()
        assert reloader.last
        assert (reloader.last.outcome, reloader.last.reason) == ("rejected", "file_missing")
        assert words.served == ["one"]
        assert (await take(reloader, "two")).outcome == "swapped"
    assert words.served == ["one", "two"]
    assert words.without == ["It is bad.", "It does not fit one.", f"Model file not found: {reloader.path}"]


async def test_what_is_compared_is_in_memory(reloader: Reloader[str], words: Words) -> None:
    """The comparison reads it, and a page that is not in memory would stop the event loop."""
    async with at_work(reloader.run()):
        await take(reloader, "one")
        await take(reloader, "unfit")
    assert (words.warmed, words.served) == (["one", "unfit"], ["one"])


async def test_a_rejected_file_is_retried_on_demand(reloader: Reloader[str], words: Words) -> None:
    """Once what rejected it has changed; a mere request does nothing, because the file is the same."""
    async with at_work(reloader.run()):
        await take(reloader, "one")
        await take(reloader, "unfit")
        words.fits = {"unfit"}
        await reloader.look()
        assert words.served == ["one"]
        reloader.retry()
        await eventually(lambda: words.served == ["one", "unfit"])


async def test_the_last_ten_reloads_are_kept(reloader: Reloader[str]) -> None:
    """The latest first, with what each was, and why it was rejected."""
    async with at_work(reloader.run()):
        for number in range(12):
            await take(reloader, f"word {number}" if number % 2 else "bad" + " " * number)
        await take(reloader, "bad")
    kept = list(reloader.history)
    assert len(kept) == 10
    assert kept[0] == reloader.last
    assert (kept[0].outcome, kept[0].detail) == ("rejected", "It is bad.")
    assert [reload.outcome for reload in kept[1:]] == ["swapped"] * 9
    assert sorted((reload.finished_at for reload in kept), reverse=True) == [reload.finished_at for reload in kept]


async def slow_until(words: Words, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], asyncio.Event]:
    """Make every slow word wait for the returned event; return also those that have begun."""
    begun: list[str] = []
    go_on, obtain = asyncio.Event(), words.obtain

    async def obtaining(source: Source, reading: Reading) -> str:
        word = await obtain(source, reading)
        if word.startswith("slow"):
            begun.append(word)
            await go_on.wait()
        return word

    monkeypatch.setattr(words, "obtain", obtaining)
    return begun, go_on


async def test_a_newer_file_does_not_wait_for_an_older_one(
    reloader: Reloader[str], words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The import of a file that takes forever ends when another one arrives."""
    begun, _ = await slow_until(words, monkeypatch)
    async with at_work(reloader.run()):
        put(reloader.path, b"slow")
        reloader.request()
        await eventually(lambda: begun)
        put(reloader.path, b"one")
        reloader.request()
        await eventually(lambda: words.served == ["one"])
    assert [reload.outcome for reload in reloader.history] == ["swapped"]


async def test_a_request_without_a_newer_file_disturbs_nothing(
    reloader: Reloader[str], words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a file that is gone."""
    begun, go_on = await slow_until(words, monkeypatch)
    async with at_work(reloader.run()):
        put(reloader.path, b"slow")
        reloader.request()
        await eventually(lambda: begun)
        for _ in range(3):
            reloader.request()
            await eventually(lambda: not reloader._noticed.is_set())
        reloader.path.unlink()
        reloader.request()
        await eventually(lambda: not reloader._noticed.is_set())
        go_on.set()
        await eventually(lambda: words.served == ["slow"])
    assert begun == ["slow"]


async def test_files_that_come_faster_than_they_are_imported_are_served(
    reloader: Reloader[str], words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After one that was given up, the next is read to its end, whatever arrives."""
    begun, go_on = await slow_until(words, monkeypatch)
    async with at_work(reloader.run()):
        for word in ("slow 1", "slow 2"):
            put(reloader.path, word.encode())
            reloader.request()
            await eventually(partial(begun.__contains__, word))
        put(reloader.path, b"slow 3")
        reloader.request()
        go_on.set()
        await eventually(lambda: words.served == ["slow 2", "slow 3"])


async def test_two_files_that_alternate_are_both_served(
    reloader: Reloader[str], words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is served already takes no time, so it may come between a file and its import only once."""

    async def serves(source: Source) -> bool:
        return words.served[-1:] == [await asyncio.to_thread(Path(source.path).read_text)]

    monkeypatch.setattr(words, "serves", serves)
    begun, go_on = await slow_until(words, monkeypatch)
    async with at_work(reloader.run()):
        await take(reloader, "one")
        for count in (1, 2):
            put(reloader.path, b"slow")
            reloader.request()
            await eventually(partial(lambda count: len(begun) == count, count))
            put(reloader.path, b"one")
            reloader.request()
            await eventually(lambda: not reloader._noticed.is_set() or len(begun) == 2)
        go_on.set()
        await eventually(lambda: words.served == ["one", "slow", "one"])


async def test_a_newer_file_ends_the_hashing_of_an_older_one(
    reloader: Reloader[str], words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that reads gigabytes learns that it need not go on."""
    stopped = threading.Event()
    hashed = threading.Event()
    original = identify

    def hashing(path: Path, most_bytes: int | None, is_stopped: Callable[[], bool], **options: bool) -> Source:
        if path.read_bytes() == b"huge":
            hashed.set()
            while not is_stopped():
                time.sleep(0.001)
            stopped.set()
        return original(path, most_bytes, is_stopped, **options)

    monkeypatch.setattr("service.live.reloader.identify", hashing)
    async with at_work(reloader.run()):
        put(reloader.path, b"huge")
        reloader.request()
        await eventually(hashed.is_set)
        put(reloader.path, b"one")
        reloader.request()
        await eventually(lambda: words.served == ["one"])
        await eventually(stopped.is_set)


async def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, words: Words) -> None:
    """It is rejected by its size."""
    reloader = Reloader(tmp_path / "word", words, 0.05, most_bytes=2**20)
    async with at_work(reloader.run()):
        assert (await take(reloader, "x" * 2**20)).outcome == "swapped"
        last = await take(reloader, "x" * (2**20 + 1))
    assert (last.reason, last.detail) == (
        "file_too_large",
        f"{reloader.path} has 1048577 bytes, more than the 1 MB that a model may have; raise ALS_MAX_MODEL_MB if it "
        "is one.",
    )


async def test_what_fails_after_a_file_is_served_does_not_reject_it(
    reloader: Reloader[str], words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an error of the task, which logs it; the reload was a swap and stays one."""

    async def failing(loaded: str, reading: Reading) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(words, "handed_over", failing)
    put(reloader.path, b"one")
    with pytest.raises(OSError, match="Input/output error"):
        await asyncio.wait_for(reloader.run(), 10)
    assert [reload.outcome for reload in reloader.history] == ["swapped"]
    assert words.served == ["one"]


async def test_an_operating_system_that_fails_is_asked_again(
    reloader: Reloader[str], words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error says nothing about the file."""
    monkeypatch.setattr(reloader, "_retry_seconds", 0.02)
    failures = [PermissionError(13, "Permission denied")]

    async def failing_once(loaded: str, reading: Reading) -> None:
        if failures:
            raise failures.pop()

    monkeypatch.setattr(words, "warm", failing_once)
    async with at_work(reloader.run()):
        put(reloader.path, b"one")
        reloader.request()
        await eventually(lambda: words.served == ["one"])
    assert [reload.outcome for reload in reloader.history] == ["swapped", "postponed"]
