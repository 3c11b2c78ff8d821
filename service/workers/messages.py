"""Messages between the keeper and a worker: lines of JSON on the worker's standard input and output."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from service.connections import Budget
from service.live.commands import Command
from service.live.generation import Generation
from service.live.policy import Part, Policy
from service.live.report import Following, Reload, Served, Training
from service.live.status import Status
from service.model.catalog.catalog import Catalog
from service.model.catalog.id_list import IdList
from service.model.rollout.arms import Experiment
from service.model.storage.source import Source, text_of
from service.tokens import Tokens

#: The longest line: the answer to a scrape.
MOST_BYTES = 2**26


class Assignment(msgspec.Struct, frozen=True):
    """What a worker is started with: its place among the workers, what it inherits, its share of limits, and settings.

    sockets, sheet, turns: inherited descriptors, of the port's open sockets and of shared memory. budget,
    query_threads, queue_ms, cache_mb: this worker's share. shelf, reading: where earlier versions are, see
    :class:`~service.model.storage.shelf.Shelf`. has_tokens: whether requests are admitted by tokens, which
    come with the news.
    """

    place: int
    sockets: tuple[int, ...]
    sheet: int
    turns: int
    budget: Budget
    query_threads: int
    queue_ms: float
    cache_mb: int
    max_n: int
    fallback: Literal["popular", "none"]
    access_log: float
    allowed_hosts: str | None
    log_format: str
    log_level: str
    allow_origins: str | None = None
    ids: Literal["native", "text"] = "native"
    has_tokens: bool = False
    management_port: int | None = None
    shelf: Path = Path("snapshots")
    reading: str = ""


class Kept(msgspec.Struct, frozen=True):
    """The keeper's generation; a worker opens the same directories.

    source: the source of the served model, which may have another path than the one in the snapshot's manifest.
    ids_as_text: see :class:`~service.model.ids.Ids`. candidate: the generation of the candidate, if there is one, and
    the experiment that says who gets it.
    """

    number: int
    snapshot: Path
    source: Source
    loaded_at: datetime
    load_seconds: dict[str, float]
    stale: bool
    ids_as_text: bool = False
    candidate: tuple[Kept, Experiment] | None = None

    @classmethod
    def of(cls, generation: Generation) -> Kept:
        """Describe a generation."""
        snapshot, candidate = generation.snapshot, generation.candidate
        return cls(
            generation.number,
            snapshot.directory,
            snapshot.manifest.source,
            generation.loaded_at,
            generation.load_seconds,
            generation.stale,
            snapshot.model.user_ids.as_text,
            (cls.of(candidate.generation), candidate.experiment) if candidate else None,
        )


def _directory(part: Catalog | IdList | None) -> Path | None:
    return None if part is None else part.directory


class Obeyed(msgspec.Struct, frozen=True):
    """The keeper's policy, see :class:`~service.live.policy.Policy`; a worker opens the same directories."""

    items: Path | None
    unavailable: Path | None
    hidden_users: Path | None
    expected: tuple[Part, ...]
    listed_only: bool

    @classmethod
    def of(cls, policy: Policy) -> Obeyed:
        """Describe a policy."""
        return cls(
            _directory(policy.items),
            _directory(policy.unavailable),
            _directory(policy.hidden_users),
            policy.expected,
            policy.listed_only,
        )


class News(msgspec.Struct, frozen=True, tag=True):
    """What handlers read, see :class:`~service.live.status.Status`, and the policy of the generations.

    draining: whether the service is stopping. tokens: what admits requests, with digests instead of the tokens
    themselves; None if everything is open.
    """

    generation: Kept | None
    earlier: list[Served]
    reloads: list[Reload]
    training: Training | None
    following: Following | None
    draining: bool
    tokens: Tokens | None = None
    policy: Obeyed = Obeyed.of(Policy())
    candidate_reloads: list[Reload] = []

    @classmethod
    def of(cls, status: Status, *, draining: bool, tokens: Tokens | None = None) -> News:
        """Describe the keeper's status."""
        current = status.slot.current
        return cls(
            Kept.of(current) if current else None,
            status.slot.earlier,
            list(status.reloads),
            status.training.report,
            status.following,
            draining,
            tokens,
            Obeyed.of(status.slot.policy),
            list(status.candidate_reloads),
        )


class Answer(msgspec.Struct, frozen=True, tag=True):
    """The keeper's answer to the question with this number."""

    number: int
    content_type: str
    body: bytes


class Refusal(msgspec.Struct, frozen=True, tag=True):
    """The keeper refuses what the question with this number asks for, by an error of this code."""

    number: int
    code: str
    detail: str


class Taken(msgspec.Struct, frozen=True, tag=True):
    """A worker now answers from the latest news; ``generation`` is its number, or 0 if there is no model."""

    generation: int


class Lost(msgspec.Struct, frozen=True, tag=True):
    """A worker cannot open all that is in the latest news; without any model, it does not answer."""


class Scrape(msgspec.Struct, frozen=True, tag=True):
    """A question: the metrics of the whole service, in an accepted format, or only those with the given names."""

    accept: str
    names: list[str]


class Ask(msgspec.Struct, frozen=True, tag=True):
    """A worker asks the keeper, which alone can answer."""

    number: int
    what: Scrape | Command


FromKeeper: TypeAlias = News | Answer | Refusal
FromWorker: TypeAlias = Taken | Lost | Ask


def line(message: msgspec.Struct) -> bytes:
    """Encode a message as a line."""
    return msgspec.json.encode(message, enc_hook=text_of) + b"\n"
