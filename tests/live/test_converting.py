"""The parent's side of a conversion: whatever the process does, there is one sentence, and no file."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.environment import child_environment
from service.errors import ConversionError, TrainingError
from service.live import converting
from service.live.converting import convert_in_child
from service.live.importing import ImportLimits
from service.model.conversion import Conversion
from tests.support.spark import FIXTURES, VERSIONS

LIMITS = ImportLimits(60, 0, child_environment())
CONVERSION = Conversion(FIXTURES / VERSIONS[0] / "als")


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        ("this", f"The conversion process for {CONVERSION.model} failed (DecodeError)."),
        (
            "no_such_module",
            f"The conversion process for {CONVERSION.model} failed with exit code 1.",
        ),
    ],
)
async def test_a_broken_process_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, sentence: str
) -> None:
    """One that says what is not a message, and one that ends without an outcome."""
    monkeypatch.setattr(converting, "_MODULE", module)
    with pytest.raises(ConversionError) as raised:
        await convert_in_child(CONVERSION, tmp_path / "m.npz", LIMITS)
    assert str(raised.value) == sentence
    assert not list(tmp_path.glob("*"))  # noqa: ASYNC240 - a test may block


async def test_progress_is_reported(tmp_path: Path) -> None:
    """The last report is of all bytes of the factors."""
    reports: list[tuple[str, int, int]] = []
    outcome = await convert_in_child(CONVERSION, tmp_path / "m.npz", LIMITS, lambda *report: reports.append(report))
    assert outcome.converted.users == 11
    phase, done, total = reports[-1]
    assert phase == "converting"
    assert done == total > 0


async def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """Before anything is read."""
    with pytest.raises(TrainingError, match=r"cannot be written to .*: No such file or directory"):
        await convert_in_child(CONVERSION, tmp_path / "nowhere/m.npz", LIMITS)
