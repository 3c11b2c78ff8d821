"""The account of a data set: what became of every row and file, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from service.errors import TrainingError
from service.untrusted import with_quotations

_NAMED_FILES = 3

#: How many rows are bad for each reason, and a description of the first.
Faults = tuple[Mapping[str, int], Callable[[], str]]


@dataclass(slots=True)
class Account:
    """What to do with bad rows (raise, or skip and count them), and what was met so far.

    left_out: the number of rows by reason. first: what was wrong with the first, with marks. untimed: why the times of
    rows are not used, if so. comments: the lines of comments before the first rows. columns: what was taken from the
    files. passed_over: files in directories that were not read. remarks: sentences for people.
    """

    skip: bool = False
    left_out: Counter[str] = field(default_factory=Counter)
    first: str = ""
    untimed: str = ""
    comments: int = 0
    columns: dict[str, None] = field(default_factory=dict)
    passed_over: list[Path] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Return the number of rows that were left out."""
        return self.left_out.total()

    def meet(self, faults: Faults) -> None:
        """Handle bad rows. Raises TrainingError."""
        counts, describe = faults
        if not any(counts.values()):
            return
        if not self.skip:
            raise TrainingError(f"{describe()}; fix it, or skip bad rows with --skip-bad-rows.")
        self.leave_out(counts, self.first or describe())

    def leave_out(self, counts: Mapping[str, int], first: str) -> None:
        """Count rows that are left out, by reason."""
        self.first = self.first or first
        self.left_out.update({reason: count for reason, count in counts.items() if count})

    def lose_times(self, why: str) -> None:
        """Do without the times of all rows; the first reason counts."""
        self.untimed = self.untimed or why

    def remark(self, sentence: str) -> None:
        """Note a sentence for people, once."""
        if sentence not in self.remarks:
            self.remarks.append(sentence)

    def take(self, names: Mapping[str, str]) -> None:
        """Note which column of a file has which role: {role: name}."""
        self.columns[", ".join(f"{name} ({role})" for role, name in names.items())] = None

    def sentences(self) -> list[str]:
        """Return every remark."""
        found = list(self.remarks)
        if self.passed_over:
            names = ", ".join(path.name for path in self.passed_over[:_NAMED_FILES])
            more = ", …" if len(self.passed_over) > _NAMED_FILES else ""
            found.append(f"{len(self.passed_over)} files in the directories were not read: {names}{more}")
        if self.comments:
            found.append(f"lines of comments at the beginning of files, which were not read: {self.comments}")
        if self.untimed:
            found.append(f"{self.untimed}; the order of times is not used")
        return list(map(with_quotations, found))
