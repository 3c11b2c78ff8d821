"""What the handlers of one app share, and their arguments."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Literal, TypeAlias, TypeVar

import msgspec
from aiohttp import web

from service.api.cache import ResponseCache
from service.api.queries import Queries
from service.api.results import Results
from service.api.shadow import Shadow
from service.api.static import Content
from service.errors import BadParameterError, LimitedModelError, NotReadyError
from service.live.commands import Administer
from service.live.generation import Generation
from service.live.status import Status
from service.model.rollout.arms import Counted
from service.observe.exposition import Exposition
from service.observe.logs import current_arm
from service.observe.metrics import Metrics

if TYPE_CHECKING:
    from service.api.tokens import Access

Fallback: TypeAlias = Literal["popular", "none"]
#: The ids in a path, by their names in the route.
Ids: TypeAlias = Mapping[str, str]
_NO_IDS: Ids = {}
_VERSION = re.compile("[0-9a-f]{16}")
#: Answers a scrape, given what is accepted and the names of metrics; see :func:`service.live.scraping.scrape`.
Scrape: TypeAlias = Callable[[str, Sequence[str]], Awaitable[Exposition]]


@dataclass(frozen=True, slots=True, eq=False)
class Limits:
    """Limits of requests, and their defaults.

    max_n: the largest n. fallback: what unknown users get. body_seconds: how long a body may take to arrive.
    """

    max_n: int = 1000
    fallback: Fallback = "popular"
    body_seconds: float = 10.0


@dataclass(slots=True)
class Lifecycle:
    """The server's state: ``draining`` from SIGTERM on, while it still answers; the number of requests ``in_flight``.

    ``answering`` says whether requests are answered from a model: for a keeper, whether a worker does so. ``busy`` has
    the connections whose request is being answered, except those whose body has not arrived yet.
    """

    draining: bool = False
    answering: bool = True
    in_flight: int = 0
    busy: set[asyncio.Protocol] = field(default_factory=set)


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """What the handlers of one app share.

    ``caches`` has the answers of each arm. ``pages`` has the content of each fixed path. ``access`` admits requests by
    their tokens, if the server has any; ``administer`` carries out the commands of those with the scope ``admin``.
    """

    status: Status
    metrics: Metrics
    limits: Limits
    queries: Queries
    caches: Mapping[Counted, ResponseCache]
    results: Results
    shadow: Shadow
    pages: Mapping[str, Content]
    scrape: Scrape
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    access: Access | None = None
    administer: Administer | None = None

    def generation(self, ids: Ids = _NO_IDS) -> Generation:
        """Take the generation that answers the whole request, of the arm of the user in its path, if there is one.

        Raises NotReadyError.
        """
        generation = self.status.slot.current
        if generation is None:
            if missing := self.status.slot.policy.missing:
                raise NotReadyError(
                    f"Nothing is served before the server has a good file for {' and '.join(missing)}, because what "
                    "must not be shown is not known; try again soon."
                )
            raise NotReadyError(
                "No model is served yet; try again soon (/v1/model says what the server is waiting for)."
            )
        if generation.candidate is None:
            return generation
        generation = generation.of(ids.get("user"))
        current_arm.set(generation.arm)
        return generation

    def generation_with_factors(self, ids: Ids) -> Generation:
        """Take the generation that answers the whole request, which must have factors.

        Raises NotReadyError, LimitedModelError.
        """
        return with_factors(self.generation(ids))

    async def generation_of(self, version: str) -> Generation:
        """Take the generation of a version: the served one, the candidate, or an earlier one that is kept.

        Raises NotReadyError, VersionGoneError.
        """
        served = self.generation()
        arms = [served, served.candidate.generation] if served.candidate else [served]
        found = next((arm for arm in arms if arm.version == version), None)
        found = found or await self.status.held.generation(version)
        if served.candidate or found.arm == "named":
            current_arm.set(found.arm)
        return found


def checked_version(text: str) -> str:
    """Return a version as a client sent it. Raises BadParameterError if it is not one."""
    if not _VERSION.fullmatch(text):
        raise BadParameterError(f"The version {text[:80]!r} is not 16 hexadecimal digits, as answers name it.")
    return text


def with_factors(generation: Generation) -> Generation:
    """Return a generation that must have factors. Raises LimitedModelError."""
    if generation.snapshot.model.limited:
        raise LimitedModelError(
            f"Only popular items can be recommended, because model {generation.version} has no factors; /v1/model says "
            "why."
        )
    return generation


#: What a request is answered from: a Generation, or None if the handler needs no model or looks it up itself.
TakenT = TypeVar("TakenT", covariant=True)
#: A request's options: a struct of ``parameters``.
AskedT = TypeVar("AskedT", covariant=True)


class Question(msgspec.Struct, Generic[TakenT, AskedT], frozen=True):
    """A handler's arguments: a request, the ids in its path, its parsed options, and the generation taken for it."""

    request: web.BaseRequest
    context: Context
    ids: Ids
    generation: TakenT
    options: AskedT


#: Answers a request, with the ids in its path, in the context of its API.
Handler: TypeAlias = Callable[[web.BaseRequest, Context, Ids], Awaitable[web.StreamResponse]]
