"""Background work: it continues after a failure, and every failure is logged."""

from __future__ import annotations

import pytest

from service.live import background
from service.live.background import keep_running
from tests.support.helpers import at_work, eventually


async def test_failing_work_is_logged_and_started_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each failure has its line, with a pause that grows up to a bound."""
    monkeypatch.setattr(background, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(background, "_LONGEST_PAUSE_SECONDS", 0.03)
    starts = []

    async def work() -> None:
        starts.append(1)
        raise LookupError("no luck")

    async with at_work(keep_running("Trying", work)):
        await eventually(lambda: len(starts) > 4)
    assert "❌ Trying failed and starts again in 0.01 s: LookupError: no luck" in caplog.messages
    assert [message.split(" in ")[1].split(" s:")[0] for message in caplog.messages[:4]] == [
        "0.01",
        "0.02",
        "0.03",
        "0.03",
    ]
    assert "Traceback" in caplog.text


async def test_work_that_held_for_long_starts_again_soon(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The pause is short again after a time without failure."""
    monkeypatch.setattr(background, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(background, "_LONGEST_PAUSE_SECONDS", -1.0)
    starts = []

    async def work() -> None:
        starts.append(1)
        raise LookupError("no luck")

    async with at_work(keep_running("Trying", work)):
        await eventually(lambda: len(starts) > 4)
    assert all("again in 0.01 s" in message for message in caplog.messages[:4])
