"""The handler for the served model: its origin, and the last attempt to replace it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from aiohttp import web

from service.api import answers
from service.api.context import Question
from service.api.parameters import Options
from service.api.sending import WholeResponse
from service.errors import SourceMissingError
from service.live.generation import Candidate, Generation, state_of
from service.live.report import Following, Poll, Reload, Served, State, Training
from service.model.catalog.assortment import Assortment
from service.model.catalog.catalog import Kind
from service.model.facts import TrainingFacts
from service.model.scoring import kernel as scan_kernel
from service.model.scoring.kernel import Name as Kernel
from service.model.scoring.score_ranges import ScoreRanges
from service.model.storage.snapshot import Snapshot
from service.model.storage.source import Version
from service.s3.versions import Download


class SourceFacts(msgspec.Struct, frozen=True):
    """The file that a model was read from; ``bytes`` is its size."""

    path: str
    format: str
    bytes: int
    sha256: str
    modified_at: datetime


class S3Facts(msgspec.Struct, frozen=True):
    """What is followed in S3; ``served`` is the download of the served model, null if it did not come from S3.

    ``latest`` is the last download, which may have been rejected.
    """

    uri: str
    last_poll: Poll | None
    last_success_at: datetime | None
    served: Download | None
    latest: Download | None


class AttributeFacts(msgspec.Struct, frozen=True):
    """An attribute of the catalog's items: the type of its values, and whether an item has a list of them.

    ``values`` are those of texts and bools that most items have, the most frequent first.
    """

    name: str
    type: Kind
    is_list: bool
    values: Sequence[bool | str]


class CatalogFacts(msgspec.Struct, frozen=True):
    """The catalog in force: its version (as of models), its items, and how many of the model's items it lists."""

    version: str
    items: int
    listed_items: int
    attributes: list[AttributeFacts]


class CandidateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The candidate, and who gets it: ``percent`` of users, by their ids and the name of the experiment.

    Its fields are null if the file at its path is not good; ``last_reload`` says why. ``shadow`` is the share of
    requests that it answers in the background.
    """

    model_version: Version | None = None
    experiment: str | None = None
    percent: float | None = None
    shadow: float | None = None
    source: SourceFacts | None = None
    users: int | None = None
    items: int | None = None
    factors: int | None = None
    loaded_at: datetime | None = None
    score_ranges: ScoreRanges | None = None
    last_reload: Reload | None


class ServedModel(msgspec.Struct, frozen=True, kw_only=True):
    """The served model. Its fields are null while there is none.

    ``kernel`` is what scans the items: int8 (the compiled kernel) or numpy.
    ``bytes`` is the snapshot's size on disk, ``load_seconds`` are the seconds of each phase, ``trained`` says how the
    model was made, if its file does. ``training`` is the progress of the fallback training, if any.
    ``waiting_for`` names the settings whose files have to come before anything is served. ``unavailable_items`` and
    ``hidden_users`` count those of the model that must not be shown.
    ``candidate`` is null if there is no file of one.
    ``earlier_versions`` were served before, latest first; ``reloads`` are the last ten, latest first, and
    ``last_reload`` is the first of them.
    """

    model_version: Version | None = None
    state: State
    kernel: Kernel
    source: SourceFacts | None = None
    users: int | None = None
    items: int | None = None
    factors: int | None = None
    seen_pairs: int | None = None
    bytes: int | None = None
    made_at: datetime | None = None
    loaded_at: datetime | None = None
    load_seconds: dict[str, float] | None = None
    score_ranges: ScoreRanges | None = None
    trained: TrainingFacts | None = None
    waiting_for: list[str]
    catalog: CatalogFacts | None = None
    unavailable_items: int | None = None
    hidden_users: int | None = None
    candidate: CandidateFacts | None
    training: Training | None
    s3: S3Facts | None
    last_reload: Reload | None
    reloads: list[Reload]
    earlier_versions: list[Served]


async def served_model(question: Question[None, Options]) -> web.StreamResponse:
    """Describe the served model.

    Its age, origin and score ranges, and how the last reload went. The status is 200 even while no model is served; the
    model's fields are null then.
    """
    status = question.context.status
    generation = status.slot.current
    body = ServedModel(
        state=state_of(generation, status.training),
        kernel=scan_kernel.name(),
        waiting_for=list(status.slot.policy.missing),
        candidate=_candidate(generation.candidate if generation else None, next(iter(status.candidate_reloads), None)),
        training=status.training.report,
        s3=_s3(status.following, generation),
        last_reload=next(iter(status.reloads), None),
        reloads=list(status.reloads),
        earlier_versions=status.slot.earlier,
        **({} if generation is None else _facts(generation)),
    )
    answer = WholeResponse(answers.encode(body), answers.CONTENT_TYPE)
    if generation is not None:
        answer.headers[answers.MODEL_VERSION] = generation.version
    return answer


def _facts(generation: Generation) -> dict[str, Any]:
    manifest = generation.snapshot.manifest
    return {
        "model_version": generation.version,
        "source": _source(generation.snapshot),
        "users": manifest.users,
        "items": manifest.items,
        "factors": manifest.factors,
        "seen_pairs": manifest.seen_pairs,
        "bytes": manifest.bytes,
        "made_at": manifest.made_at,
        "loaded_at": generation.loaded_at,
        "load_seconds": generation.load_seconds,
        "score_ranges": manifest.scores,
        "trained": manifest.training,
        "catalog": _catalog(generation.assortment),
        "unavailable_items": generation.assortment.unavailable_items,
        "hidden_users": generation.assortment.hidden_users,
    }


def _candidate(candidate: Candidate | None, last_reload: Reload | None) -> CandidateFacts | None:
    if candidate is None:
        nothing_there = last_reload is None or last_reload.reason == SourceMissingError.code
        return None if nothing_there else CandidateFacts(last_reload=last_reload)
    generation, experiment = candidate.generation, candidate.experiment
    manifest = generation.snapshot.manifest
    return CandidateFacts(
        model_version=generation.version,
        experiment=experiment.name,
        percent=experiment.percent,
        shadow=experiment.shadow,
        source=_source(generation.snapshot),
        users=manifest.users,
        items=manifest.items,
        factors=manifest.factors,
        loaded_at=generation.loaded_at,
        score_ranges=manifest.scores,
        last_reload=last_reload,
    )


def _catalog(assortment: Assortment) -> CatalogFacts | None:
    catalog = assortment.catalog
    if catalog is None:
        return None
    attributes = [
        AttributeFacts(name, column.kind, column.is_list, column.frequent) for name, column in catalog.columns.items()
    ]
    return CatalogFacts(catalog.version, len(catalog), assortment.listed_items, attributes)


def _source(snapshot: Snapshot) -> SourceFacts:
    source = snapshot.manifest.source
    return SourceFacts(
        path=source.path,
        format=snapshot.manifest.source_format,
        bytes=source.signature.size,
        sha256=source.sha256,
        modified_at=source.signature.modified_at,
    )


def _s3(following: Following | None, generation: Generation | None) -> S3Facts | None:
    if following is None:
        return None
    return S3Facts(
        uri=following.uri,
        last_poll=following.last_poll,
        last_success_at=following.last_success_at,
        served=following.download_of(generation.snapshot.manifest.source.sha256) if generation else None,
        latest=next(iter(following.downloads), None),
    )
