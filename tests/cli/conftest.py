"""What tests of commands share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.published import let_in
from tests.support.seaweed import Seaweed
from tests.support.shops import Shop


@pytest.fixture
def shop(seaweed: Seaweed, plain_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Return a prefix of its own, and let this process in."""
    let_in(monkeypatch, seaweed.environment(), seaweed.endpoint)
    monkeypatch.chdir(tmp_path)
    return Shop(seaweed, plain_bucket, tmp_path)
