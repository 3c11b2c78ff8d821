"""What the keeper and a worker say to one another, as lines of JSON on the worker's standard input and output."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from service.connections import Budget
from service.live.generation import Generation
from service.live.report import Following, Reload, Served, Training
from service.live.status import Status
from service.model.storage.source import Source

#: The longest line: a scrape's answer is the largest.
MOST_BYTES = 2**26


class Assignment(msgspec.Struct, frozen=True):
    """What a worker is started with: its place among the others, what it shares with them, its share, and settings.

    sockets: of the port, open. sheet, turns: memory, of its own numbers and of all workers' connections. These are
    inherited descriptors. budget, query_threads, waiting_queries, cache_mb: this worker's share of the host's.
    """

    place: int
    sockets: tuple[int, ...]
    sheet: int
    turns: int
    budget: Budget
    query_threads: int
    waiting_queries: int
    cache_mb: int
    max_n: int
    fallback: Literal["popular", "none"]
    access_log: float
    log_format: str
    log_level: str


class Kept(msgspec.Struct, frozen=True):
    """A generation as the keeper has it; a worker opens the same directories.

    source: of the served model, which the snapshot may have been made of under another name.
    """

    number: int
    snapshot: Path
    source: Source
    titles: Path | None
    loaded_at: datetime
    load_seconds: dict[str, float]
    stale: bool

    @classmethod
    def of(cls, generation: Generation) -> Kept:
        """Say where a generation is on disk, and what is told of it."""
        snapshot, titles = generation.snapshot, generation.titles
        return cls(
            generation.number,
            snapshot.directory,
            snapshot.manifest.source,
            titles.directory if titles else None,
            generation.loaded_at,
            generation.load_seconds,
            generation.stale,
        )


class News(msgspec.Struct, frozen=True, tag=True):
    """All that handlers read, as it is now: see :class:`~service.live.status.Status`.

    draining: whether the service is about to stop.
    """

    generation: Kept | None
    earlier: list[Served]
    reloads: list[Reload]
    training: Training | None
    following: Following | None
    draining: bool

    @classmethod
    def of(cls, status: Status, *, draining: bool) -> News:
        """Tell of the keeper's status."""
        current = status.slot.current
        return cls(
            Kept.of(current) if current else None,
            status.slot.earlier,
            list(status.reloads),
            status.training.report,
            status.following,
            draining,
        )


class Answer(msgspec.Struct, frozen=True, tag=True):
    """The keeper's answer to what was asked under this number."""

    number: int
    content_type: str
    body: bytes


class Taken(msgspec.Struct, frozen=True, tag=True):
    """A worker answers from the last news; ``generation`` is the number of theirs, 0 where they have none."""

    generation: int


class Scrape(msgspec.Struct, frozen=True, tag=True):
    """Give the metrics of the whole service, in a form that is accepted, and only those of these names if any."""

    accept: str
    names: list[str]


class Ask(msgspec.Struct, frozen=True, tag=True):
    """A worker asks for what only the keeper can do; what else it may ask joins ``Scrape`` here."""

    number: int
    what: Scrape


FromKeeper: TypeAlias = News | Answer
FromWorker: TypeAlias = Taken | Ask


def line(message: msgspec.Struct) -> bytes:
    """Encode a message as a line."""
    return msgspec.json.encode(message, enc_hook=str) + b"\n"


def read_path(kind: type, value: str) -> Path:
    """Read the paths of a message: what msgspec calls for a type that it does not know."""
    assert kind is Path
    return Path(value)
