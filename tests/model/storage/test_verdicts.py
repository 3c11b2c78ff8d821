"""What was decided about versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.files import sync_directory
from service.model.storage.verdicts import Verdicts

VERSION = "9f2c06a1d3b8e754"


def test_the_last_verdict_is_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An acceptance counts even if it follows as soon as the quarantine can be seen."""
    verdicts = Verdicts(tmp_path)

    def accept_at_once(directory: Path) -> None:
        sync_directory(directory)
        if directory.name == "quarantined":
            assert verdicts.is_quarantined(VERSION)
            verdicts.accept(VERSION)

    monkeypatch.setattr("service.model.storage.verdicts.sync_directory", accept_at_once)
    verdicts.quarantine(VERSION)
    assert verdicts.is_accepted(VERSION)
    assert not verdicts.is_quarantined(VERSION)
