"""The metrics: name, type, help, unit and labels. Each app has its own registry, so tests never share numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    disable_created_metrics,
)

from service.errors import AlsServeError, ModelRejectedError, OutOfResourcesError, S3Error
from service.observe.processes import ProcessMetrics
from service.observe.sheets import Numbers
from service.observe.tallies import TallyCounter, TallyGauge, TallyHistogram

# Prometheus does not need the creation time of each series, which would double their number.
disable_created_metrics()  # type: ignore[no-untyped-call] # the library gives it no type

_REQUEST_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_WAIT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_DOWNLOAD_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1)
# Scores of implicit feedback are around 0 to 1, those of ratings higher.
_SCORE_BUCKETS = (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 5, 10, 20, 50, 100)
_SHARE_BUCKETS = (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
_SCANNED_BUCKETS = (2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072, 262_144, 1_048_576, 4_194_304)

#: The strategies that use factors, and so have model scores and numbers of scanned items.
SCORED_STRATEGIES = ("als", "session", "fold_in")
STRATEGIES = (*SCORED_STRATEGIES, "popular")
#: The lanes in which long queries wait for a thread.
LANES = ("single", "batch")
#: The label of what a candidate has a part in: "served" or "candidate", whose series begin with its first answer.
ARM = "arm"
SERVED = "served"
#: How the reading of a file can end.
OUTCOMES = ("swapped", "unchanged", "rejected", "postponed")
#: The files that say what may be shown, by the settings that name them.
POLICY_FILES = ("items", "unavailable", "hidden_users")

Metric = Counter | Gauge | Histogram | TallyCounter | TallyGauge | TallyHistogram


_TALLIES = (TallyCounter, TallyGauge, TallyHistogram)


class Row(NamedTuple):
    """A row of the table of metrics.

    ``known`` has the label values known beforehand. Their series start at 0, because ``increase()`` misses the first
    event of a series that begins with it.
    """

    type: type[Metric]
    name: str
    help: str
    labels: Sequence[str]
    known: Sequence[Sequence[str]]
    options: dict[str, Any]

    @property
    def kind(self) -> str:
        """Return the type as Prometheus calls it: counter, gauge or histogram."""
        return self.type.__name__.removeprefix("Tally").lower()

    @property
    def unit(self) -> str:
        """Return the unit of the values: seconds, bytes, or none."""
        words = self.name.removesuffix("_total").split("_")
        return words[-1] if words[-1] in ("seconds", "bytes") else ""

    def register(self, registry: CollectorRegistry, numbers: Numbers) -> Metric:
        """Create the metric, with its known series, in a registry."""
        options = self.options | ({"numbers": numbers} if issubclass(self.type, _TALLIES) else {})
        metric = self.type(self.name, self.help, self.labels, unit=self.unit, registry=registry, **options)
        for values in self.known or ([()] if issubclass(self.type, _TALLIES) and not self.labels else []):
            metric.labels(*values)
        return metric


def _metric(
    kind: type[Metric],
    name: str,
    text: str,
    *labels: str,
    known: Sequence[Sequence[str]] = (),
    buckets: Sequence[float] = (),
) -> Any:
    options = {"buckets": buckets} if buckets else {}
    return field(init=False, metadata={"row": Row(kind, name, text, labels, known, options)})


def _codes(error: type[AlsServeError]) -> Iterator[str]:
    yield error.code
    for kind in error.__subclasses__():
        yield from _codes(kind)


_RELOADS = [
    ("swapped", ""),
    ("unchanged", ""),
    *(("rejected", code) for code in (AlsServeError.code, *_codes(ModelRejectedError))),
    ("postponed", OutOfResourcesError.code),
]
_GATES = [("counts",), ("factors",), ("scores",), ("overlap",), ("golden",)]
_GATE_RESULTS = [(*gate, result) for gate in _GATES for result in ("passed", "warned", "blocked", "accepted")]
#: What is followed in S3.
FOLLOWED = ("model", "items", "candidate")
_POLLS = [
    (followed, *ended)
    for followed in FOLLOWED
    for ended in (("unchanged", ""), ("downloaded", ""), *(("failed", code) for code in _codes(S3Error)))
]
_EACH_FOLLOWED = [(followed,) for followed in FOLLOWED]


@dataclass(eq=False, slots=True)
class Metrics:
    """The metrics of one server, registered in ``registry``, next to those of its process.

    ``numbers`` stores what workers count too; the other metrics are the keeper's alone.
    """

    registry: CollectorRegistry
    numbers: Numbers = field(default_factory=Numbers)
    process: ProcessMetrics = field(init=False)

    model_info: Gauge = _metric(Gauge, "als_model_info", "1 for the served model.", "version", "format")
    model_ready: Gauge = _metric(Gauge, "als_model_ready", "1 while a model is served.")
    model_stale: Gauge = _metric(Gauge, "als_model_stale", "1 while the served model is not the one at the model path.")
    model_pinned: Gauge = _metric(Gauge, "als_model_pinned", "1 while a version is pinned, so no new model is taken.")
    model_limited: Gauge = _metric(
        Gauge, "als_model_limited", "1 while the served model has no factors, only popularity."
    )
    model_generation: Gauge = _metric(
        Gauge, "als_model_generation", "Models that this process has put into service so far, including the served one."
    )
    model_source_bytes: Gauge = _metric(Gauge, "als_model_source_bytes", "Size of the served model's source file.")
    model_snapshot_bytes: Gauge = _metric(
        Gauge, "als_model_snapshot_bytes", "Size of the served model's snapshot on disk, which is mapped into memory."
    )
    model_resident_bytes: Gauge = _metric(
        Gauge,
        "als_model_resident_bytes",
        "Bytes of the snapshot that are in memory; the rest is read from disk while a request waits.",
    )
    model_snapshots_held: TallyGauge = _metric(
        TallyGauge,
        "als_model_snapshots_held",
        "Earlier snapshots that are still mapped, because requests still use them.",
    )
    model_versions_held: TallyGauge = _metric(
        TallyGauge, "als_model_versions_held", "Earlier versions that are open, because requests have named them."
    )
    model_users: Gauge = _metric(Gauge, "als_model_users", "Users in the served model.")
    model_items: Gauge = _metric(Gauge, "als_model_items", "Items in the served model.")
    model_factors: Gauge = _metric(Gauge, "als_model_factors", "Factors of the served model.")
    scan_info: Gauge = _metric(
        Gauge, "als_scan_info", "1 for what scans the items: int8 (the compiled kernel) or numpy.", "kernel"
    )
    model_score: Gauge = _metric(
        Gauge,
        "als_model_score",
        "Score ranges of the served model: individual, recommendation or popularity.",
        "kind",
        "statistic",
    )
    model_load_seconds: Gauge = _metric(
        Gauge, "als_model_load_seconds", "Seconds that the served model took to load, by phase.", "phase"
    )
    model_made_timestamp: Gauge = _metric(
        Gauge,
        "als_model_made_timestamp_seconds",
        "When the served model was trained according to its file, else when the file was written (Unix time).",
    )
    model_loaded_timestamp: Gauge = _metric(
        Gauge, "als_model_loaded_timestamp_seconds", "When the served model was put into service (Unix time)."
    )

    catalog_rows: Gauge = _metric(Gauge, "als_catalog_rows", "Items in the catalog.")
    catalog_items: Gauge = _metric(
        Gauge, "als_catalog_listed_items", "Items of the served model that the catalog lists."
    )
    items_unavailable: Gauge = _metric(
        Gauge, "als_items_unavailable", "Items of the served model that the catalog or a list withholds."
    )
    users_hidden: Gauge = _metric(Gauge, "als_users_hidden", "Users of the served model who are hidden.")
    policy_reloads: Counter = _metric(
        Counter,
        "als_policy_reloads_total",
        "Readings of the files of items, unavailable items and hidden users by outcome (swapped, unchanged, rejected, "
        "postponed).",
        "file",
        "outcome",
        known=[(file, outcome) for file in POLICY_FILES for outcome in OUTCOMES],
    )
    policy_stale: Gauge = _metric(
        Gauge,
        "als_policy_stale",
        "1 while such a file is bad or missing, so that its last good content counts.",
        "file",
        known=[(file,) for file in POLICY_FILES],
    )
    policy_loaded_timestamp: Gauge = _metric(
        Gauge,
        "als_policy_loaded_timestamp_seconds",
        "When such a file's content was put into service (Unix time).",
        "file",
        known=[(file,) for file in POLICY_FILES],
    )

    last_reload_successful: Gauge = _metric(
        Gauge, "als_model_last_reload_successful", "1 if the last reload succeeded."
    )
    last_reload_timestamp: Gauge = _metric(
        Gauge, "als_model_last_reload_timestamp_seconds", "When the last reload ended (Unix time)."
    )
    last_reload_success_timestamp: Gauge = _metric(
        Gauge, "als_model_last_reload_success_timestamp_seconds", "When the last successful reload ended (Unix time)."
    )
    reloads: Counter = _metric(
        Counter,
        "als_model_reloads_total",
        "Reloads by outcome (swapped, unchanged, rejected, postponed) and, for the last two, by reason.",
        "outcome",
        "reason",
        known=_RELOADS,
    )
    gate_results: Counter = _metric(
        Counter,
        "als_gate_results_total",
        "What gates found about new models: passed, warned, blocked, or accepted (it would be blocked otherwise).",
        "gate",
        "result",
        known=_GATE_RESULTS,
    )
    gate_blocks: Gauge = _metric(
        Gauge, "als_gate_blocks", "1 while this gate keeps out the model at the model path.", "gate", known=_GATES
    )
    model_on_probation: Gauge = _metric(
        Gauge,
        "als_model_on_probation",
        "1 while the answers of a new model are watched and the model before it is kept to return to.",
    )
    model_returns: Counter = _metric(
        Counter,
        "als_model_returns_total",
        "Models that were replaced by the one before because of empty or failed answers.",
    )
    candidate_info: Gauge = _metric(Gauge, "als_candidate_info", "1 for the candidate, if there is one.", "version")
    candidate_percent: Gauge = _metric(
        Gauge, "als_candidate_percent", "Percentage of users who get the candidate; 0 while there is none."
    )
    candidate_reloads: Counter = _metric(
        Counter,
        "als_candidate_reloads_total",
        "Reloads of the candidate by outcome (swapped, unchanged, rejected, postponed).",
        "outcome",
        known=[(outcome,) for outcome in OUTCOMES],
    )
    trainings: Counter = _metric(
        Counter,
        "als_trainings_total",
        "Fallback trainings by outcome (trained, stopped, failed).",
        "outcome",
        known=[("trained",), ("stopped",), ("failed",)],
    )
    watcher_up: Gauge = _metric(Gauge, "als_watcher_up", "1 while file events arrive; 0 while the file is only polled.")

    s3_polls: Counter = _metric(
        Counter,
        "als_s3_polls_total",
        "Polls of S3 for a model, items or a candidate by outcome (unchanged, downloaded, failed) and reason of "
        "failure.",
        "object",
        "outcome",
        "reason",
        known=_POLLS,
    )
    s3_seconds_since_success: Gauge = _metric(
        Gauge,
        "als_s3_seconds_since_success",
        "Seconds since the last successful poll of S3, or since the start; 0 if S3 is not followed.",
        "object",
        known=_EACH_FOLLOWED,
    )
    s3_poll_interval: Gauge = _metric(
        Gauge,
        "als_s3_poll_interval_seconds",
        "Interval between polls of S3; 0 if S3 is not followed.",
        "object",
        known=_EACH_FOLLOWED,
    )
    s3_download_bytes: Counter = _metric(
        Counter,
        "als_s3_download_bytes_total",
        "Downloaded bytes of models, items and candidates, including incomplete downloads.",
        "object",
        known=_EACH_FOLLOWED,
    )
    s3_download_seconds: Histogram = _metric(
        Histogram,
        "als_s3_download_seconds",
        "Seconds from requesting a model, items or a candidate in S3 until the verified file is in its place.",
        "object",
        known=_EACH_FOLLOWED,
        buckets=_DOWNLOAD_BUCKETS,
    )
    s3_model_info: Gauge = _metric(
        Gauge,
        "als_s3_model_info",
        "1 for each of the last models downloaded from S3; join with als_model_info by version.",
        "version",
        "key",
        "version_id",
    )

    requests: TallyCounter = _metric(
        TallyCounter,
        "als_http_requests_total",
        "Requests by route template, method and status.",
        "route",
        "method",
        "status",
        ARM,
    )
    request_seconds: TallyHistogram = _metric(
        TallyHistogram,
        "als_http_request_duration_seconds",
        "Seconds from reading a request's headers to handing over its answer.",
        "route",
        "method",
        "status",
        ARM,
        buckets=_REQUEST_BUCKETS,
    )
    token_requests: TallyCounter = _metric(
        TallyCounter,
        "als_token_requests_total",
        "Requests that need a token, by its name (or anonymous, unknown, other) and outcome (admitted, refused).",
        "token",
        "outcome",
        known=[("anonymous", "admitted"), ("anonymous", "refused"), ("unknown", "refused")],
    )
    token_reloads: Counter = _metric(
        Counter,
        "als_token_reloads_total",
        "Readings of the file of tokens by outcome (swapped, unchanged, rejected, postponed).",
        "outcome",
        known=[(outcome,) for outcome in OUTCOMES],
    )
    tokens_stale: Gauge = _metric(
        Gauge, "als_tokens_stale", "1 while the file of tokens is bad or missing, so that earlier tokens are valid."
    )
    requests_in_flight: TallyGauge = _metric(TallyGauge, "als_http_requests_in_flight", "Requests being answered.")
    queries: TallyGauge = _metric(
        TallyGauge, "als_queries", "Long queries that are running in a thread or waiting for one."
    )
    queries_abandoned: TallyCounter = _metric(
        TallyCounter, "als_queries_abandoned_total", "Long queries whose client disconnected before the answer."
    )
    queries_refused: TallyCounter = _metric(
        TallyCounter,
        "als_queries_refused_total",
        "Long queries refused because they waited too long for a thread, or would have, by lane: single or batch.",
        "lane",
        known=[(lane,) for lane in LANES],
    )
    query_wait_seconds: TallyHistogram = _metric(
        TallyHistogram,
        "als_query_wait_seconds",
        "Seconds that long queries waited for a thread, by lane.",
        "lane",
        buckets=_WAIT_BUCKETS,
        known=[(lane,) for lane in LANES],
    )
    connections: TallyGauge = _metric(TallyGauge, "als_connections", "Open connections of clients.")
    connections_limit: TallyGauge = _metric(
        TallyGauge,
        "als_connections_limit",
        "Maximum number of open connections, derived from the limit of descriptors.",
    )
    connections_closed: TallyCounter = _metric(
        TallyCounter,
        "als_connections_closed_total",
        "Connections closed to stay within the budget, by reason: "
        "head_timeout, idle, refused, send_timeout, unsent_bytes.",
        "reason",
        known=[("head_timeout",), ("idle",), ("refused",), ("send_timeout",), ("unsent_bytes",)],
    )
    unsent_bytes: TallyGauge = _metric(
        TallyGauge, "als_unsent_bytes", "Bytes of answers that clients have not read yet."
    )
    accept_errors: TallyCounter = _metric(
        TallyCounter,
        "als_accept_errors_total",
        "Connections that could not be accepted because the system lacked descriptors or memory.",
    )
    workers: Gauge = _metric(Gauge, "als_workers", "Workers that answer; 0 if one process does everything.")
    worker_ends: Counter = _metric(
        Counter, "als_worker_ends_total", "Workers that ended unexpectedly and were replaced."
    )
    cache_hits: TallyCounter = _metric(
        TallyCounter, "als_response_cache_hits_total", "Answers taken from the response cache.", ARM
    )
    cache_misses: TallyCounter = _metric(
        TallyCounter,
        "als_response_cache_misses_total",
        "Answers that had to be computed.",
        ARM,
    )
    cache_bytes: TallyGauge = _metric(TallyGauge, "als_response_cache_bytes", "Memory of the response cache.", ARM)
    results: TallyCounter = _metric(
        TallyCounter,
        "als_results_total",
        "Lists of recommendations by strategy: als (a user of the model), session (with what the user did just now), "
        "fold_in (someone new), popular (others).",
        "strategy",
        ARM,
        known=[(strategy, SERVED) for strategy in STRATEGIES],
    )
    results_empty: TallyCounter = _metric(
        TallyCounter,
        "als_results_empty_total",
        "Lists of recommendations without a single item, unless the request left items out.",
        ARM,
        known=[(SERVED,)],
    )
    top_score: TallyHistogram = _metric(
        TallyHistogram,
        "als_result_top_score",
        "Highest raw model score of each list, by strategy.",
        "strategy",
        ARM,
        buckets=_SCORE_BUCKETS,
        known=[(strategy, SERVED) for strategy in SCORED_STRATEGIES],
    )
    scanned_items: TallyHistogram = _metric(
        TallyHistogram,
        "als_result_scanned_items",
        "Number of items whose score, or a bound of it, was computed for each list, by strategy.",
        "strategy",
        ARM,
        buckets=_SCANNED_BUCKETS,
        known=[(strategy, SERVED) for strategy in SCORED_STRATEGIES],
    )
    scanned_bytes: TallyCounter = _metric(
        TallyCounter,
        "als_result_scanned_bytes_total",
        "Bytes of item factors and of their int8 codes read for those lists, by strategy.",
        "strategy",
        ARM,
        known=[(strategy, SERVED) for strategy in SCORED_STRATEGIES],
    )
    shadow_requests: TallyCounter = _metric(
        TallyCounter,
        "als_shadow_requests_total",
        "Requests that the candidate answers in the background, by outcome: compared, failed, or dropped (too many "
        "waited).",
        "outcome",
        known=[("compared",), ("failed",), ("dropped",)],
    )
    shadow_overlap: TallyHistogram = _metric(
        TallyHistogram,
        "als_shadow_overlap_ratio",
        "Share of the first ten items that the lists of the served model and of the candidate have in common.",
        buckets=_SHARE_BUCKETS,
    )
    shadow_correlation: TallyHistogram = _metric(
        TallyHistogram,
        "als_shadow_rank_correlation_ratio",
        "Rank correlation of the items that both lists have, (Kendall's tau + 1) / 2: 1 in the same order, 0 in the "
        "reverse one, 0.5 if the order is random.",
        buckets=_SHARE_BUCKETS,
    )
    shadow_seconds: TallyHistogram = _metric(
        TallyHistogram,
        "als_shadow_duration_seconds",
        "Seconds that the candidate took for a list in the background.",
        buckets=_REQUEST_BUCKETS,
    )
    loop_lag_seconds: TallyHistogram = _metric(
        TallyHistogram, "als_event_loop_lag_seconds", "Delay of a timer in the event loop.", buckets=_LAG_BUCKETS
    )

    def __post_init__(self) -> None:
        self.process = ProcessMetrics(self.registry, self.numbers)
        PlatformCollector(registry=self.registry)
        for attribute, row in table().items():
            setattr(self, attribute, row.register(self.registry, self.numbers))

    def publish(self) -> None:
        """Write to the sheet what is only known on demand, so that the keeper can add it."""
        for attribute, row in table().items():
            if row.type is TallyGauge:
                getattr(self, attribute).refresh()
        self.process.publish()


def table() -> dict[str, Row]:
    """Return the row of each metric by its attribute of Metrics."""
    return {attribute.name: attribute.metadata["row"] for attribute in fields(Metrics) if attribute.metadata}
