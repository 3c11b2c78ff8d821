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


def test_a_quarantine_takes_an_acceptance_back(tmp_path: Path) -> None:
    """A version has one verdict, the latest, so that a rolled-back model which was accepted once does not come back."""
    verdicts, version = Verdicts(tmp_path), "0123456789abcdef"
    verdicts.accept(version)
    verdicts.quarantine(version)
    assert (verdicts.is_accepted(version), verdicts.is_quarantined(version)) == (False, True)
    verdicts.accept(version)
    assert (verdicts.is_accepted(version), verdicts.is_quarantined(version)) == (True, False)
