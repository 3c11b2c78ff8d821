"""Reports on the served model and on reloads: records, metrics and log lines."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from service.errors import (
    GateError,
    ImportCpuError,
    ImportCrashedError,
    ImportMemoryError,
    ImportTimeoutError,
    ModelRejectedError,
    PinnedError,
    QuarantinedError,
    SourceMissingError,
    StateDirectoryError,
    UnreadableSourceError,
)
from service.model.catalog.assortment import Assortment
from service.model.rollout.arms import Experiment
from service.model.rollout.gates import GATES, Gate
from service.model.scoring import kernel
from service.model.scoring.score_ranges import Range
from service.model.storage.snapshot import Snapshot
from service.observe.logs import log_event
from service.observe.metrics import Metrics
from service.s3.versions import Download

Outcome: TypeAlias = Literal["swapped", "unchanged", "rejected", "postponed"]
State: TypeAlias = Literal["loading", "training", "limited", "ready", "stale"]

#: Rejections that do not mean that the file is damaged.
_NOT_DAMAGED = (
    SourceMissingError,
    UnreadableSourceError,
    StateDirectoryError,
    ImportCrashedError,
    ImportTimeoutError,
    ImportMemoryError,
    ImportCpuError,
    GateError,
    QuarantinedError,
    PinnedError,
)


#: Files that only containers have, and the one in which an EC2 instance names its vendor.
_IN_CONTAINERS = (Path("/.dockerenv"), Path("/run/.containerenv"), Path("/var/run/secrets/kubernetes.io"))
_VENDOR = Path("/sys/class/dmi/id/sys_vendor")


class GateResult(msgspec.Struct, frozen=True):
    """What a gate found: ``value`` against ``limit``; null if the gate had nothing to read.

    "warned": it failed, but only warns; "accepted": it failed, but a person has let the model in. ``detail`` says why.
    """

    gate: Gate
    result: Literal["passed", "warned", "blocked", "accepted"]
    value: float | None
    limit: float | None
    detail: str


class Reload(msgspec.Struct, frozen=True):
    """The outcome of a reload; a "postponed" one is retried.

    ``reason`` is the code of an error and ``detail`` its sentence, in which "…" replaces what the log quotes from the
    file; else both are empty. ``version`` is the file's version, null if it could not be read.

    ``seconds`` are by phase: download (from S3), verify (hash), read, validate, arrange, analyse and write (in the
    child), open, warm, gates, swap.
    """

    outcome: Outcome
    reason: str
    detail: str
    finished_at: datetime
    version: str | None
    seconds: dict[str, float]
    gates: list[GateResult] = []


class Served(msgspec.Struct, frozen=True):
    """A model version that was served earlier, and when it was loaded."""

    version: str
    loaded_at: datetime


class Training(msgspec.Struct, frozen=True):
    """The progress or outcome of the fallback training: ``done`` of ``total`` steps of a phase are done.

    ``detail`` says why it failed.
    """

    outcome: Literal["running", "trained", "stopped", "failed"]
    data: str
    started_at: datetime
    phase: str = ""
    done: int = 0
    total: int = 0
    detail: str = ""


@dataclass(slots=True)
class FallbackTraining:
    """The state of the fallback training: ``report`` is None until it starts."""

    report: Training | None = None

    @property
    def is_running(self) -> bool:
        """Whether a model is being trained."""
        return self.report is not None and self.report.outcome == "running"

    @property
    def has_saved(self) -> bool:
        """Whether the file at the path is probably the trained model, which exists before the child reports it."""
        return self.report is not None and (self.report.phase == "saving" or self.report.outcome == "trained")


class Poll(msgspec.Struct, frozen=True):
    """The outcome of a poll of S3; ``reason`` and ``detail`` are a failure's code and sentence, else empty."""

    outcome: Literal["unchanged", "downloaded", "failed"]
    reason: str
    detail: str
    finished_at: datetime


class Following(msgspec.Struct):
    """The followed place in S3, the last poll, and the downloads, latest first."""

    uri: str
    last_poll: Poll | None = None
    last_success_at: datetime | None = None
    downloads: list[Download] = msgspec.field(default_factory=list)

    def download_of(self, sha256: str) -> Download | None:
        """Return a model's download, if it came from S3."""
        return next((download for download in self.downloads if download.sha256 == sha256), None)

    def seconds_of(self, sha256: str) -> float | None:
        """Return how long a model's download took, if it came from S3."""
        download = self.download_of(sha256)
        return download.seconds if download else None


def measure_model(metrics: Metrics, snapshot: Snapshot, loaded_at: datetime, seconds: dict[str, float]) -> None:
    """Set the metrics of the served model, and remove those of the previous one."""
    manifest = snapshot.manifest
    metrics.model_info.clear()
    metrics.model_info.labels(snapshot.version, manifest.source_format).set(1)
    metrics.model_generation.inc()
    metrics.model_limited.set(snapshot.model.limited)
    metrics.model_source_bytes.set(manifest.source.signature.size)
    metrics.model_snapshot_bytes.set(manifest.bytes)
    metrics.model_users.set(manifest.users)
    metrics.model_items.set(manifest.items)
    metrics.model_factors.set(manifest.factors)
    metrics.model_made_timestamp.set(manifest.made_at.timestamp())
    metrics.model_loaded_timestamp.set(loaded_at.timestamp())
    metrics.scan_info.labels(kernel.name()).set(1)
    metrics.model_load_seconds.clear()
    for phase, value in seconds.items():
        metrics.model_load_seconds.labels(phase).set(value)
    metrics.model_score.clear()
    for kind, statistics in score_ranges(snapshot).items():
        for statistic, value in statistics.items():
            metrics.model_score.labels(kind, statistic).set(value)


def measure_assortment(metrics: Metrics, assortment: Assortment) -> None:
    """Set the metrics of what may be shown of the loaded model."""
    metrics.catalog_rows.set(0 if assortment.catalog is None else len(assortment.catalog))
    metrics.catalog_items.set(assortment.listed_items)
    metrics.items_unavailable.set(assortment.unavailable_items)
    metrics.users_hidden.set(assortment.hidden_users)


def measure_reload(metrics: Metrics, reload: Reload) -> None:
    """Set the metrics of a finished reload."""
    metrics.reloads.labels(reload.outcome, reload.reason).inc()
    if reload.outcome == "postponed":  # nothing is known about the file, neither good nor bad
        return
    blocking = {found.gate for found in reload.gates if found.result == "blocked"}
    for gate in GATES:
        metrics.gate_blocks.labels(gate).set(gate in blocking)
    good = reload.outcome != "rejected"
    metrics.last_reload_successful.set(good)
    metrics.last_reload_timestamp.set(reload.finished_at.timestamp())
    if good:
        metrics.last_reload_success_timestamp.set(reload.finished_at.timestamp())


def measure_candidate(metrics: Metrics, candidate: Snapshot | None, experiment: Experiment) -> None:
    """Set the metrics of the candidate, and of who gets it; 0% if there is none."""
    metrics.candidate_info.clear()
    if candidate:
        metrics.candidate_info.labels(candidate.version).set(1)
    metrics.candidate_percent.set(experiment.percent if candidate else 0)


def measure_candidate_reload(metrics: Metrics, reload: Reload) -> None:
    """Count a finished reload of the candidate; that there is no file says nothing."""
    if reload.reason != SourceMissingError.code:
        metrics.candidate_reloads.labels(reload.outcome).inc()


def score_ranges(snapshot: Snapshot) -> dict[str, dict[str, float]]:
    """Return the score ranges by kind and statistic, without popularity if the model has none."""
    ranges: dict[str, Range | None] = msgspec.structs.asdict(snapshot.manifest.scores)
    return {kind: found.statistics() for kind, found in ranges.items() if found}


def announce_first(snapshot: Snapshot, *, trained: bool) -> None:
    """Log the facts of the first model, and whether this server trained it."""
    manifest = snapshot.manifest
    log_event("loaded", model_version=snapshot.version)
    log_event("model_info", users=manifest.users, items=manifest.items)
    log_event("model_factors", factors=manifest.factors)
    model = snapshot.model
    if model.seen is None and model.user_ids.are_row_numbers and model.item_ids.are_row_numbers:
        log_event("row_numbers")
    log_event("analyzing_scores")
    log_event("analyzed_scores")
    for kind, statistics in score_ranges(snapshot).items():
        facts: dict[str, Any] = {"kind": kind, **statistics}
        log_event("score_range", **facts)
    log_event("initialized_trained" if trained else "initialized")


def announce_rejection(error: ModelRejectedError, path: str, served: str | None) -> None:
    """Log why a file was rejected, a hint, and which version is still served."""
    if isinstance(error, SourceMissingError):
        log_event("file_missing", path=path, reason=error.code)
        if served is None and _may_run_on_ec2():
            log_event("file_missing_hint")
    else:
        log_event("rejected", detail=str(error), reason=error.code, path=path)
        if not isinstance(error, _NOT_DAMAGED):
            log_event("corrupt_hint")
    if served:
        log_event("still_serving", model_version=served)


def _may_run_on_ec2() -> bool:
    """Return whether this is a container or an EC2 instance; the metadata service is not asked."""
    if any(path.exists() for path in _IN_CONTAINERS):
        return True
    with suppress(OSError):
        return _VENDOR.read_text().startswith("Amazon EC2")
    return False
