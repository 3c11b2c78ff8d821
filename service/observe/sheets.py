"""Where the numbers of metrics are stored: in this process only, or in memory that the keeper shares with a worker.

Each worker counts in its own sheet, without locks or messages, and the keeper sums all sheets for a scrape. What a
killed worker has counted is still in its sheet.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from typing import NamedTuple

import msgspec

Labels = tuple[str, ...]

#: Space in a sheet for the names of its series and for their numbers. Only pages that are written to take memory.
_INDEX_BYTES = 2**20
_NUMBERS_BYTES = 2**21
_END_BYTES = 8  # at the start of the sheet: where the index ends


class Entry(NamedTuple):
    """A line of a sheet's index: a series, the place of its numbers, and whether they outlast the process."""

    name: str
    labels: Labels
    start: int
    length: int
    lasting: bool


_entry = msgspec.json.Decoder(Entry)


class Numbers:
    """Allots numbers that only this process sees."""

    def allot(self, name: str, labels: Labels, length: int, *, lasting: bool = True) -> MutableSequence[float]:
        """Return ``length`` zeros for a series; if ``lasting``, they still count after the process has ended."""
        return [0.0] * length

    def elsewhere(self, name: str) -> Iterable[tuple[Labels, Sequence[float]]]:
        """Return the numbers of other processes for series of this name."""
        return ()


class Sheet(Numbers):
    """Allots numbers in shared memory, which one process writes and another reads."""

    def __init__(self, descriptor: int) -> None:
        """Map the memory made by :func:`make_sheet`."""
        memory = memoryview(mmap.mmap(descriptor, _INDEX_BYTES + _NUMBERS_BYTES))
        self._end = memory[:_END_BYTES].cast("Q")
        self._index = memory[_END_BYTES:_INDEX_BYTES]
        self._numbers = memory[_INDEX_BYTES:].cast("d")
        self._allotted = 0
        self._read = 0
        self._entries: dict[str, list[Entry]] = {}

    def allot(self, name: str, labels: Labels, length: int, *, lasting: bool = True) -> MutableSequence[float]:
        """Return the next free numbers, and add the series to the index."""
        start, self._allotted = self._allotted, self._allotted + length
        line = msgspec.json.encode(Entry(name, labels, start, length, lasting)) + b"\n"
        begin = self._end[0]
        self._index[begin : begin + len(line)] = line
        self._end[0] = begin + len(line)  # last, so that a reader only sees whole lines, even if the writer is killed
        return self._numbers[start : start + length]  # type: ignore[return-value] # items can be read and set

    def names(self) -> list[str]:
        """Return the names of all series in the index."""
        end = self._end[0]
        for line in bytes(self._index[self._read : end]).splitlines():
            entry = _entry.decode(line)
            self._entries.setdefault(entry.name, []).append(entry)
        self._read = end
        return list(self._entries)

    def series(self, name: str) -> Iterator[tuple[Entry, list[float]]]:
        """Yield the series of a name with their current numbers."""
        self.names()
        for entry in self._entries.get(name, ()):
            yield entry, list(self._numbers[entry.start : entry.start + entry.length])


class Sums(Numbers):
    """Allots the keeper's own numbers, and has those of all workers, past and present."""

    def __init__(self) -> None:
        self._sheets: list[Sheet] = []
        self._past: dict[str, dict[Labels, list[float]]] = {}

    def add(self, sheet: Sheet) -> None:
        """Add the sheet of a new worker."""
        self._sheets.append(sheet)

    def retire(self, sheet: Sheet) -> None:
        """Drop the sheet of a worker that has ended, but keep what it has counted."""
        self._sheets.remove(sheet)
        for name in sheet.names():
            past = self._past.setdefault(name, {})
            for entry, numbers in sheet.series(name):
                if entry.lasting:
                    before = past.get(entry.labels, [0.0] * entry.length)
                    past[entry.labels] = [a + b for a, b in zip(before, numbers, strict=True)]

    def elsewhere(self, name: str) -> Iterator[tuple[Labels, Sequence[float]]]:
        """Yield the numbers of each worker."""
        yield from self._past.get(name, {}).items()
        for sheet in self._sheets:
            yield from ((entry.labels, numbers) for entry, numbers in sheet.series(name))


def make_sheet() -> int:
    """Create the memory of a sheet and return its descriptor. Raises OSError."""
    descriptor = os.memfd_create("als-serve numbers")
    os.ftruncate(descriptor, _INDEX_BYTES + _NUMBERS_BYTES)
    return descriptor
