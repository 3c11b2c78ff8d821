"""Progress bars for long work, on standard error, so that standard output can be piped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from service.s3.versions import Counted
from service.untrusted import escaped

if TYPE_CHECKING:
    from service.training.fitting import Report

PHASES = {
    "reading": "📖 Reading interactions",
    "training": "🧮 Training ALS",
    "evaluating": "🎯 Evaluating",
    "tuning": "🔭 Tuning",
    "converting": "🔁 Reading factors",
    "recommending": "📦 Recommending",
}


class TimeLeft(ProgressColumn):
    """The time left if further steps take as long as those so far; rich's own forgets steps of more than 30 seconds."""

    def render(self, task: Task) -> Text:
        """Return the estimate; nothing before the first step and after the last."""
        if not task.completed or not task.total or task.elapsed is None or task.finished:
            return Text("")
        left = task.elapsed * (task.total - task.completed) / task.completed
        return Text(f"{timedelta(seconds=round(left))} left", style="progress.remaining")


@contextmanager
def bars() -> Iterator[Report]:
    """Draw a bar for each phase, if on a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(
        *columns,
        TimeElapsedColumn(),
        TimeLeft(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        tasks: dict[str, TaskID] = {}

        def report(phase: str, done: int, total: int, note: str = "", /) -> None:
            if phase not in tasks or progress.tasks[tasks[phase]].finished:
                tasks[phase] = progress.add_task(PHASES[phase], note="")
            progress.update(tasks[phase], completed=done, total=total, note=note)

        yield report


@contextmanager
def bar(title: str, size: int) -> Iterator[Counted]:
    """Draw a bar for a transfer of this many bytes, if on a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(escaped(title), total=size)
        yield lambda count: progress.advance(task, count)
