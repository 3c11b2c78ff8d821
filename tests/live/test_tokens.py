"""The file of tokens of a live server: it may change at any time, and no bad file does any harm."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service.errors import BadTokensError
from service.live.reloader import Reloader, request_every
from service.live.tokens import TokensLoader, read_tokens
from service.observe.metrics import Metrics
from service.tokens import Tokens, digest_of
from tests.support.helpers import WATCH_SECONDS, at_work, events, eventually, put

LINE = f"shop read {digest_of('a')}\n"


class Followed:
    """A file of tokens, what was used of it, and how its readings were counted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.used: list[Tokens] = []
        self._metrics = Metrics(CollectorRegistry())

    def names(self) -> list[str]:
        """Return the names that are used now."""
        return [token.name for token in self.used[-1]] if self.used else []

    @property
    def is_stale(self) -> bool:
        """Say whether the tokens that are used are not those of the file."""
        return self._metrics.registry.get_sample_value("als_tokens_stale") == 1

    def count(self, outcome: str) -> float | None:
        """Return how many readings ended like this."""
        return self._metrics.registry.get_sample_value("als_token_reloads_total", {"outcome": outcome})

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Follow the file for the time of a block."""
        reloader = Reloader(self.path, TokensLoader(self.path, self.used.append, self._metrics), WATCH_SECONDS)
        async with at_work(reloader.run()), at_work(request_every(WATCH_SECONDS, reloader)):
            yield


@pytest.fixture
def file(tmp_path: Path) -> Followed:
    """Return a file with one token."""
    put(tmp_path / "tokens", LINE.encode())
    return Followed(tmp_path / "tokens")


async def test_changes_are_used(file: Followed, caplog: pytest.LogCaptureFixture) -> None:
    """A file that replaces it, and one written in place; one that only was touched is not new."""
    caplog.set_level("INFO")
    async with file.followed():
        await eventually(lambda: file.names() == ["shop"])
        put(file.path, f"desk read {digest_of('b')}\n".encode())
        await eventually(lambda: file.names() == ["desk"])
        file.path.write_text(LINE + f"desk read {digest_of('b')}\n")
        await eventually(lambda: file.names() == ["shop", "desk"])
        os.utime(file.path, (1, 1))
        await eventually(lambda: file.count("unchanged") == 1)
    assert len(file.used) == file.count("swapped") == 3
    assert caplog.messages[-1] == f"🔑 Loaded the tokens from {file.path}; count: 2"


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b"shop read 1234\n", ", line 1: the last word must be the token's sha256, 64 hexadecimal digits."),
        (b"\xff\n", " is not UTF-8; save it as UTF-8 text."),
        (b"", " is empty (0 bytes)."),
    ],
)
async def test_a_bad_file_changes_nothing(
    file: Followed, caplog: pytest.LogCaptureFixture, content: bytes, detail: str
) -> None:
    """It is one warning, however often it is looked at, and counted once; a good file is used again."""
    async with file.followed():
        await eventually(lambda: file.names() == ["shop"])
        put(file.path, content)
        await eventually(lambda: file.count("rejected") == 1)
        assert file.names() == ["shop"]
        assert file.is_stale
        put(file.path, f"desk read {digest_of('b')}\n".encode())
        await eventually(lambda: file.names() == ["desk"])
    assert events(caplog).count("tokens_rejected") == 1
    assert f"⚠️ Keeping the current tokens: {file.path}{detail}" in caplog.messages
    assert file.count("rejected") == 1
    assert not file.is_stale


async def test_a_file_that_is_gone_changes_nothing(file: Followed, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is locked out or let in, and the log says what to do."""
    async with file.followed():
        await eventually(lambda: file.names() == ["shop"])
        file.path.unlink()
        await eventually(lambda: file.count("rejected") == 1)
        assert file.names() == ["shop"]
        assert file.is_stale
        put(file.path, LINE.encode())
        await eventually(lambda: not file.is_stale)
    missing = f"There is no file at {file.path}; put it there, or unset ALS_TOKENS_FILE."
    assert f"⚠️ Keeping the current tokens: {missing}" in caplog.messages


def test_at_the_start_a_file_is_needed(tmp_path: Path) -> None:
    """A server without its tokens would be closed to everybody, or worse, open."""
    path = tmp_path / "tokens"
    with pytest.raises(
        BadTokensError, match=r"^There is no file at .*/tokens; put it there, or unset ALS_TOKENS_FILE\."
    ):
        read_tokens(path)
    path.mkdir()
    with pytest.raises(BadTokensError, match=r"/tokens is not a regular file; put one there\."):
        read_tokens(path)
    path.rmdir()
    path.write_text("shop write x")
    with pytest.raises(BadTokensError, match=r"/tokens, line 1: a scope is missing or unknown"):
        read_tokens(path)
    path.write_text(LINE)
    assert [token.name for token in read_tokens(path)] == ["shop"]
