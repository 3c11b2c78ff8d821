"""How far long work has come: told by phase to whoever wants to know, drawn as bars where a person looks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

PHASES = {
    "reading": "📖 Reading interactions",
    "training": "🧮 Training ALS",
    "evaluating": "🎯 Evaluating",
    "tuning": "🔭 Tuning",
}


class Report(Protocol):
    """Is told, now and then, that ``done`` of ``total`` steps of one of PHASES are done."""

    def __call__(self, phase: str, done: int, total: int, note: str = "", /) -> object:
        """Take note; ``note`` is a word for people about the last step."""


def silent(_phase: str, _done: int, _total: int, _note: str = "", /) -> None:
    """Tell nobody."""


@contextmanager
def bars() -> Iterator[Report]:
    """Draw a bar for each phase on a terminal: on standard error, so that standard output can be piped."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(
        *columns, TextColumn("{task.fields[note]}"), console=console, disable=not console.is_terminal
    ) as progress:
        tasks: dict[str, TaskID] = {}

        def report(phase: str, done: int, total: int, note: str = "", /) -> None:
            if phase not in tasks or progress.tasks[tasks[phase]].finished:
                tasks[phase] = progress.add_task(PHASES[phase], note="")
            progress.update(tasks[phase], completed=done, total=total, note=note)

        yield report
