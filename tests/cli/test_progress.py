"""Bars of long work."""

from __future__ import annotations

import pytest
from rich.progress import Progress

from service.cli.progress import PHASES, TimeLeft, bar, bars


def test_the_time_left_is_estimated_from_the_first_step_on() -> None:
    """However long steps take, those that remain are expected to take as long as those so far."""
    now = 0.0
    progress = Progress(get_time=lambda: now, disable=True)
    task = progress.add_task("training", total=5)
    shown = []
    for done in range(6):
        progress.update(task, completed=done)
        shown.append(TimeLeft().render(progress.tasks[0]).plain)
        now += 90
    assert shown == ["", "0:06:00 left", "0:04:30 left", "0:03:00 left", "0:01:30 left", ""]


@pytest.mark.parametrize("terminal", [True, False])
def test_bars_are_drawn_on_a_terminal_alone(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bar for each phase and for a transfer, on standard error, so that standard output can be piped."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.setenv(name, "1" if terminal else "0")
    with bars() as report:
        for phase in PHASES:
            report(phase, 0, 10)
            report(phase, 10, 10)
    with bar("Downloading m.npz", 100) as on_bytes:
        on_bytes(100)
    written = capsys.readouterr()
    assert written.out == ""
    drawn = [title in written.err for title in [*PHASES.values(), "Downloading m.npz"]]
    assert drawn == [terminal] * len(drawn)
    assert written.err.count("100%") >= terminal * len(PHASES)
