"""What is locked can be installed wherever als-serve can."""

from __future__ import annotations

import tomllib
from importlib.metadata import distributions

from packaging.specifiers import SpecifierSet

from tests.support import ROOT

PROJECT = ROOT / "pyproject.toml"


def test_what_is_locked_installs_on_the_oldest_python() -> None:
    """The locks hold nothing that a first release of the oldest Python is too old for: some systems have no other."""
    oldest = tomllib.loads(PROJECT.read_text())["project"]["requires-python"].removeprefix(">=") + ".0"
    needs = {found.name: SpecifierSet(found.metadata["Requires-Python"] or "") for found in distributions()}
    assert "aiohttp" in needs
    assert {name: str(python) for name, python in needs.items() if oldest not in python} == {}
