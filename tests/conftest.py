"""What holds for every test."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import settings
from playwright.async_api import Browser

from service.logs import logger
from tests.support.browsing import chromium_started
from tests.support.helpers import Place, counted_imports

# A deadline per example is a timed assertion: it fails on a busy machine and says nothing about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def logging_restored() -> Iterator[None]:
    """Let no test that sets logging up, as commands do, change what another sees of the log."""
    root = logging.getLogger()
    handlers, level, ours = root.handlers[:], root.level, logger.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logger.setLevel(ours)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """Return the one browser that all tests of the explorer look through."""
    async with chromium_started() as browser:
        yield browser


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Return a model path and a shelf of its own."""
    return Place(tmp_path)


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the versions that stores import from now on."""
    return counted_imports(monkeypatch)
