"""How a worker follows the keeper: it serves what the keeper serves, and never anything older."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import msgspec

from service.errors import SnapshotDamagedError
from service.live.generation import Candidate, Generation, snapshots_of
from service.live.policy import Policy
from service.live.status import Status
from service.model.catalog.assortment import EVERYTHING
from service.model.catalog.catalog import Catalog
from service.model.catalog.id_list import IdList, open_id_list
from service.model.catalog.stored import open_catalog
from service.model.storage.snapshot import Snapshot, open_snapshot, release, warm
from service.observe.logs import log_event
from service.workers.messages import Kept, News, Obeyed

PartT = TypeVar("PartT", Catalog, IdList)


class Follower:
    """Keeps a worker's ``status`` equal to the keeper's."""

    def __init__(self, status: Status) -> None:
        self._status = status

    async def take(self, news: News) -> bool:
        """Answer from these news from now on; return whether all that they name could be opened.

        If a snapshot cannot be opened, the generation stays: most likely, a newer snapshot has taken its place on disk.
        Without the candidate's, all users get the served model. Raises SnapshotDamagedError, OSError if there is no
        generation yet.
        """
        status, generation, policy = self._status, self._status.slot.current, self._status.slot.policy
        try:
            policy, generation = await asyncio.to_thread(_opened, news, policy, generation)
        except (SnapshotDamagedError, OSError) as error:
            if generation is None:
                raise
            log_event("not_followed", detail=str(error))
        previous = [status.slot.follow(generation, news.earlier, policy)]
        status.reloads, status.training.report, status.following = news.reloads, news.training, news.following
        status.candidate_reloads = news.candidate_reloads
        await asyncio.to_thread(_release, previous, generation)
        return (Kept.of(generation) if generation else None) == news.generation


def _release(previous: list[Generation | None], current: Generation | None) -> None:
    """Drop the last references to the previous models, in a thread: unmapping gigabytes is slow."""
    for snapshot in snapshots_of(previous.pop(), without=current):
        release(snapshot)


def _opened(news: News, policy: Policy, held: Generation | None) -> tuple[Policy, Generation | None]:
    """Map a policy and a generation into memory, except what is mapped already.

    Raises SnapshotDamagedError, OSError.
    """
    kept, policy = news.generation, _policy(news.policy, policy)
    if kept is None or (held and Kept.of(held) == kept):
        return policy, held if kept else None
    generation = _generation(kept, held, policy)
    if kept.candidate is None:
        return policy, generation
    of_candidate, experiment = kept.candidate
    held_candidate = held.candidate.generation if held and held.candidate else None
    try:
        candidate = replace(_generation(of_candidate, held_candidate, policy), arm="candidate")
    except (SnapshotDamagedError, OSError) as error:
        log_event("candidate_lost", model_version=of_candidate.source.version, detail=str(error))
        return policy, generation
    return policy, replace(generation, candidate=Candidate(candidate, experiment))


def _generation(kept: Kept, held: Generation | None, policy: Policy) -> Generation:
    """Map a generation of one arm into memory, except what is mapped already."""
    snapshot = _snapshot(kept, held)
    known = held.assortment if held and held.snapshot.model is snapshot.model else EVERYTHING
    assortment = policy.assort(snapshot.model, known)
    return Generation(kept.number, snapshot, kept.loaded_at, kept.load_seconds, kept.stale, assortment)


def _policy(obeyed: Obeyed, held: Policy) -> Policy:
    """Return the policy: the one that is held if it is the same, because what was made under it still counts."""
    if Obeyed.of(held) == obeyed:
        return held
    return Policy(
        _part(obeyed.items, held.items, open_catalog),
        _part(obeyed.unavailable, held.unavailable, open_id_list),
        _part(obeyed.hidden_users, held.hidden_users, open_id_list),
        obeyed.expected,
        obeyed.listed_only,
    )


def _part(place: Path | None, held: PartT | None, opening: Callable[[Path], PartT]) -> PartT | None:
    """Open a part of a policy, unless it is held already."""
    if place is None or (held is not None and held.directory == place):
        return held if place else None
    return opening(place)


def _snapshot(kept: Kept, held: Generation | None) -> Snapshot:
    if held and (held.snapshot.directory, held.snapshot.manifest.source) == (kept.snapshot, kept.source):
        return held.snapshot
    opened = open_snapshot(kept.snapshot, ids_as_text=kept.ids_as_text)
    warm(opened)
    return replace(opened, manifest=msgspec.structs.replace(opened.manifest, source=kept.source))
