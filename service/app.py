"""The wiring: turns settings into an API and the background work that keeps its model."""

from __future__ import annotations

import socket
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar, get_args

import msgspec
from prometheus_client import CollectorRegistry

from service.answering import Work
from service.api import Api, create_api, create_monitoring
from service.api.context import Context, Lifecycle, Limits
from service.api.queries import Queries
from service.api.results import Results
from service.api.shadow import Shadow
from service.api.tokens import Access
from service.connections import Budget, most_connections, raise_descriptor_limit
from service.environment import child_environment
from service.followers import candidate_path, follow_candidates, follow_items, follow_models
from service.live.administration import Administration
from service.live.admission import GatePolicy, Mode
from service.live.background import measure_lag
from service.live.candidate import keep_candidate
from service.live.catalog import CatalogLoader
from service.live.commands import Administer
from service.live.fallback_training import FallbackTrainer
from service.live.generation import Slot
from service.live.importing import ImportLimits
from service.live.models import Live, Rollout, keep_model
from service.live.policy import SETTINGS, Part, Policy
from service.live.policy_files import LOOK_SECONDS, ListLoader
from service.live.preparing import Preparation
from service.live.probation import Allowance
from service.live.reloader import Reloader, request_every
from service.live.report import Following
from service.live.scraping import scrape
from service.live.status import Status
from service.live.tokens import TokensLoader, read_tokens
from service.live.watcher import Watcher
from service.model.catalog.naming import columns_of
from service.model.keys import keys_of
from service.model.rollout.arms import Experiment
from service.model.rollout.gates import Gate, Thresholds
from service.model.storage.shelf import Shelf
from service.model.storage.snapshot import Snapshot
from service.observe.metrics import Metrics
from service.observe.sheets import Sums
from service.settings import Settings
from service.workers.keeper import Workers
from service.workers.messages import Assignment
from service.workers.turns import make_turns

T = TypeVar("T")


def create_live(
    settings: Settings,
    metrics: Metrics,
    following: Following | None = None,
    policy: Policy | None = None,
    gate_policy: GatePolicy | None = None,
) -> Live:
    """Build the parts that import, keep and serve the model of these settings; the policy's are to come.

    Without a policy, everything may be shown; without one for gates, there are none.
    """
    preparation = _preparation(settings, "snapshots", following)
    allowance = Allowance(settings.probation_seconds, settings.probation_excess)
    experiment = Experiment(settings.experiment, settings.candidate_percent, settings.candidate_shadow)
    rollout = Rollout(gate_policy or GatePolicy(), allowance, experiment)
    return keep_model(settings.model_path, preparation, metrics, settings.watch_seconds, rollout, policy)


def _preparation(settings: Settings, name: str, following: Following | None = None) -> Preparation:
    """Return what imports models onto the shelf of this name."""
    reading = _reading(keys_of(settings.pickle_keys))
    shelf = Shelf(settings.state_dir / name, settings.keep_snapshots, reading, settings.ids == "text")
    return Preparation(shelf, import_limits(settings), following.seconds_of if following else None)


def _policy(settings: Settings) -> Policy:
    """Return the policy to begin with, which lacks what is still to be read."""
    expected: tuple[Part, ...] = get_args(Part)
    named = tuple(part for part in expected if getattr(settings, part) is not None)
    return Policy(expected=named, listed_only=settings.items_required)


def catalog_import(settings: Settings) -> tuple[Shelf, ImportLimits]:
    """Return where catalogs are kept, and how one is imported. Raises SettingsError."""
    columns = columns_of(settings.item_columns)
    return Shelf(settings.state_dir / "items", 2, _reading(columns)), replace(import_limits(settings), keys=columns)


def _reading(keys: Mapping[str, str]) -> str:
    """Return the end of a snapshot's name that stands for a way to read its file."""
    return f"-{zlib.crc32(repr(sorted(keys.items())).encode()):08x}" if keys else ""


def gate_policy_of(settings: Settings) -> GatePolicy:
    """Return what gates do with a new model."""
    modes: dict[Gate, Mode] = {
        "counts": settings.gate_counts,
        "factors": settings.gate_factors,
        "scores": settings.gate_scores,
        "overlap": settings.gate_overlap,
        "golden": settings.gate_golden,
    }
    thresholds = Thresholds(settings.min_count_share, settings.max_score_shift, settings.min_overlap)
    return GatePolicy(modes, thresholds, settings.golden)


def import_limits(settings: Settings) -> ImportLimits:
    """Return the limits of a process that reads a model."""
    memory, file = settings.import_memory_mb, settings.max_model_mb
    keys = keys_of(settings.pickle_keys)
    return ImportLimits(settings.import_timeout_seconds, memory, child_environment(), file, keys)


@dataclass(frozen=True, slots=True)
class Keeping:
    """The parts that keep the model current: what handlers read, and the background work."""

    status: Status
    works: dict[str, Work]
    administer: Administer
    recover: Callable[[], Awaitable[None]]


def create_app(settings: Settings) -> tuple[Api, dict[str, Work]]:
    """Return the API, and the server's background work.

    Raises SettingsError if the S3 URI is invalid, BadTokensError if the file of tokens is.
    """
    metrics = Metrics(CollectorRegistry())
    access = _access(settings, metrics)
    keeping = create_keeping(settings, metrics, access)
    works = keeping.works | {"Measuring the event loop's lag": lambda: measure_lag(metrics)}
    return create_api(settings, keeping.status, metrics, access=access, administer=keeping.administer), works


def create_keeper(
    settings: Settings, workers: int, sockets: Sequence[socket.socket]
) -> tuple[Api, dict[str, Work], Workers]:
    """Return what the keeper answers, health checks and scrapes, its background work, and its workers.

    ``sockets`` are the open sockets of the port. Raises SettingsError if the S3 URI is invalid, BadTokensError if the
    file of tokens is.
    """
    sums = Sums()
    metrics = Metrics(CollectorRegistry(), sums)
    access = _access(settings, metrics)
    keeping = create_keeping(settings, metrics, access)
    status, lifecycle = keeping.status, Lifecycle(answering=False)
    context = Context(
        status,
        metrics,
        Limits(),
        Queries(1, settings.queue_ms, metrics),
        {},
        Results(metrics),
        Shadow(metrics),
        {},
        partial(scrape, status, metrics),
        lifecycle,
        access,
        keeping.administer,
    )
    assignments = _assignments(settings, workers, sockets)
    group = Workers(assignments, child_environment(), context, sums, keeping.recover)
    works = keeping.works | {"Telling the workers": group.tell}
    return create_monitoring(context, settings.access_log), works, group


def _assignments(settings: Settings, workers: int, sockets: Sequence[socket.socket]) -> list[Assignment]:
    """Return what each worker is started with: its share of the limits, and the settings that it needs."""
    query_threads, queue_ms = query_shares(settings, workers)
    first = Assignment(
        place=0,
        sockets=tuple(each.fileno() for each in sockets),
        sheet=-1,  # each worker that is started gets a new one
        turns=make_turns(),
        budget=Budget(most_connections(raise_descriptor_limit())).share(workers),
        query_threads=query_threads,
        queue_ms=queue_ms,
        cache_mb=-(-settings.cache_mb // workers),
        max_n=settings.max_n,
        allow_origins=settings.allow_origins,
        ids=settings.ids,
        fallback=settings.fallback,
        access_log=settings.access_log,
        allowed_hosts=settings.allowed_hosts,
        log_format=settings.log_format,
        log_level=settings.log_level,
        has_tokens=settings.tokens_file is not None,
        management_port=settings.management_port,
        shelf=settings.state_dir / "snapshots",
        reading=_reading(keys_of(settings.pickle_keys)),
    )
    return [msgspec.structs.replace(first, place=place) for place in range(workers)]


def query_shares(settings: Settings, workers: int) -> tuple[int, float]:
    """Return each worker's query threads, at least one, and milliseconds in the queue.

    No more work waits in all workers together than in one process.
    """
    threads = max(1, settings.query_threads // workers)
    return threads, settings.queue_ms * min(1.0, settings.query_threads / (workers * threads))


def _access(settings: Settings, metrics: Metrics) -> Access | None:
    """Return what admits requests by their tokens, if there is a file of them. Raises BadTokensError."""
    return Access(read_tokens(settings.tokens_file), metrics) if settings.tokens_file else None


def create_keeping(settings: Settings, metrics: Metrics, access: Access | None = None) -> Keeping:
    """Build the parts that watch, follow S3, import and train, without starting them. Raises SettingsError."""
    follower = follow_models(settings, metrics)
    following = follower.following if follower else None
    live = create_live(settings, metrics, following, _policy(settings), gate_policy_of(settings))
    watcher = Watcher(settings.model_path, live.reloader.request, settings.watch_seconds, metrics)
    works: dict[str, Work] = {
        "Keeping the model current": live.reloader.run,
        "Watching the model file": watcher.run,
        "Watching new models' answers": live.probation.run,
        "Watching for accepted models": lambda: live.notice_acceptance(settings.watch_seconds),
    }
    if settings.training_data:
        trainer = FallbackTrainer(
            live,
            settings.training_data,
            settings.state_dir,
            child_environment(),
            metrics,
            after=follower.polled if follower else None,
            columns=settings.training_columns,
            delimiter=settings.training_delimiter,
            encoding=settings.training_encoding,
        )
        works["Training a fallback model"] = trainer.run
    status = live.status(following)
    followers = {
        "Following S3": follower,
        "Following the candidate in S3": follow_candidates(settings, live),
        "Following the items in S3": follow_items(settings, metrics),
    }
    works |= {name: each.run for name, each in followers.items() if each}
    looks = [each.request for each in followers.values() if each]
    if candidates := _candidates(settings, live, status):
        works |= _reloading("the candidate", candidates)
        looks.append(candidates.retry)
    works |= _policy_works(settings, live.slot)
    if settings.tokens_file and access:
        tokens = Reloader(
            settings.tokens_file, TokensLoader(settings.tokens_file, access.use, metrics), settings.watch_seconds
        )
        works["Keeping the tokens current"] = tokens.run
        works["Watching the file of tokens"] = lambda: request_every(settings.watch_seconds, tokens)
    administration = Administration(live, looks)
    return Keeping(status, works, administration.perform, administration.recover)


def _candidates(settings: Settings, live: Live, status: Status) -> Reloader[Snapshot] | None:
    """Return what keeps the candidate current, if there may be one."""
    path = candidate_path(settings)
    if path is None:
        return None
    candidates = keep_candidate(path, live.slot, _preparation(settings, "candidates"), settings.watch_seconds)
    status.candidate_reloads = candidates.history
    return candidates


def _policy_works(settings: Settings, slot: Slot) -> dict[str, Work]:
    """Return what keeps the parts of the policy current."""
    works: dict[str, Work] = {}
    if settings.items:
        shelf, limits = catalog_import(settings)
        catalogs = CatalogLoader(settings.items, slot, shelf, limits)
        works |= _reloading(
            SETTINGS["items"], Reloader(settings.items, catalogs, settings.watch_seconds, limits.file_bytes)
        )
    lists: dict[Part, Path | None] = {"unavailable": settings.unavailable, "hidden_users": settings.hidden_users}
    for part, path in lists.items():
        if path:
            loader = ListLoader(part, path, slot, Shelf(settings.state_dir / part, keep=2))
            works |= _reloading(SETTINGS[part], Reloader(path, loader, settings.watch_seconds))
    return works


def _reloading(name: str, reloader: Reloader[T]) -> dict[str, Work]:
    """Return what keeps a file current that must be noticed within a second, with or without file events."""
    return {
        f"Keeping {name} current": reloader.run,
        f"Watching {name}": lambda: request_every(LOOK_SECONDS, reloader),
    }
