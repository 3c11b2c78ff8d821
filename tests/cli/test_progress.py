"""Bars of long work."""

from __future__ import annotations

from rich.progress import Progress

from service.cli.progress import TimeLeft


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
