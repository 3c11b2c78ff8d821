"""What holds for every test."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import settings
from playwright.async_api import Browser

from service.observe.logs import logger
from tests.support.browsing import chromium_started
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.helpers import Place, counted_imports
from tests.support.seaweed import Seaweed, running_seaweed

# A deadline per example is a timed assertion: it fails on a busy machine and says nothing about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def logging_restored() -> Iterator[None]:
    """Restore logging after each test."""
    root = logging.getLogger()
    handlers, level, ours = root.handlers[:], root.level, logger.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logger.setLevel(ours)


@pytest.fixture(scope="session", autouse=True)
def coverage_of_children() -> str | None:
    """Take away what has coverage measure child processes, and return it: measured, they start half as fast."""
    return os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


@pytest.fixture
def children_are_measured(coverage_of_children: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure the children of a test that is about what they do."""
    if coverage_of_children:
        monkeypatch.setenv("COVERAGE_PROCESS_CONFIG", coverage_of_children)


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


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """Return a store for all tests, each of which has a bucket or a prefix of its own."""
    with running_seaweed(tmp_path_factory.mktemp("seaweed")) as running:
        yield running


@pytest.fixture(scope="session")
def plain_bucket(seaweed: Seaweed) -> str:
    """Return the name of a bucket that keeps no versions; a new one takes seconds, so tests share it."""
    return asyncio.run(seaweed.make_bucket())


@pytest.fixture(scope="session")
def versioned_bucket(seaweed: Seaweed) -> str:
    """Return the name of a bucket that keeps all versions."""
    return asyncio.run(seaweed.make_bucket(versioned=True))


@pytest.fixture
async def proxy(seaweed: Seaweed) -> AsyncIterator[FaultProxy]:
    """Return what all that the test asks of S3 goes through."""
    async with fault_proxy(seaweed.endpoint) as running:
        yield running
