"""Every metric once: name, help, unit and labels. One registry per app, so tests never share numbers."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

_REQUEST_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_DOWNLOAD_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1)


class Metrics:
    """The metrics of one server, registered in ``registry``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        self._model(registry)
        self._reloads(registry)
        self._s3(registry)
        self._serving(registry)

    def _model(self, registry: CollectorRegistry) -> None:
        self.model_info = Gauge("als_model_info", "1 for the model served.", ["version", "format"], registry=registry)
        self.model_ready = Gauge("als_model_ready", "1 while a model is served.", registry=registry)
        self.model_stale = Gauge(
            "als_model_stale",
            "1 while the served model is not the one at the model path.",
            registry=registry,
        )
        self.model_limited = Gauge(
            "als_model_limited", "1 while a model without factors is served: popularity alone.", registry=registry
        )
        self.model_source_bytes = Gauge(
            "als_model_source_bytes", "Size of the served model's source file.", registry=registry
        )
        self.model_snapshot_bytes = Gauge(
            "als_model_snapshot_bytes", "Size of the served model's snapshot on disk.", registry=registry
        )
        self.model_users = Gauge("als_model_users", "Users in the served model.", registry=registry)
        self.model_items = Gauge("als_model_items", "Items in the served model.", registry=registry)
        self.model_factors = Gauge("als_model_factors", "Factors of the served model.", registry=registry)
        self.model_score = Gauge(
            "als_model_score",
            "Score ranges of the served model: individual, recommendation or popularity.",
            ["kind", "statistic"],
            registry=registry,
        )
        self.model_load_seconds = Gauge(
            "als_model_load_seconds",
            "How long the served model took to load, by phase.",
            ["phase"],
            registry=registry,
        )
        self.model_made_timestamp = Gauge(
            "als_model_made_timestamp_seconds",
            "When the served model was trained, as its file says, or else when the file was written (Unix time).",
            registry=registry,
        )
        self.model_loaded_timestamp = Gauge(
            "als_model_loaded_timestamp_seconds",
            "When the served model was put into service (Unix time).",
            registry=registry,
        )

    def _reloads(self, registry: CollectorRegistry) -> None:
        self.last_reload_successful = Gauge(
            "als_model_last_reload_successful",
            "1 if the last look at a changed model file ended well.",
            registry=registry,
        )
        self.last_reload_timestamp = Gauge(
            "als_model_last_reload_timestamp_seconds",
            "When the last reload ended (Unix time).",
            registry=registry,
        )
        self.last_reload_success_timestamp = Gauge(
            "als_model_last_reload_success_timestamp_seconds",
            "When the last successful reload ended (Unix time).",
            registry=registry,
        )
        self.reloads = Counter(
            "als_model_reloads_total",
            "Reloads by outcome (swapped, unchanged, rejected) and the reason of a rejection.",
            ["outcome", "reason"],
            registry=registry,
        )
        self.trainings = Counter(
            "als_trainings_total",
            "Trainings for want of a model by outcome (trained, stopped, failed).",
            ["outcome"],
            registry=registry,
        )
        self.watcher_up = Gauge(
            "als_watcher_up", "1 while file events arrive; 0 while only the timer looks.", registry=registry
        )

    def _s3(self, registry: CollectorRegistry) -> None:
        self.s3_polls = Counter(
            "als_s3_polls_total",
            "Looks at S3 by outcome (unchanged, downloaded, failed) and the reason of a failure.",
            ["outcome", "reason"],
            registry=registry,
        )
        self.s3_seconds_since_success = Gauge(
            "als_s3_seconds_since_success",
            "Seconds since S3 last answered well, or since the start; 0 where no S3 is followed.",
            registry=registry,
        )
        self.s3_download_bytes = Counter(
            "als_s3_download_bytes_total", "Bytes of models downloaded, whole or not.", registry=registry
        )
        self.s3_download_seconds = Histogram(
            "als_s3_download_seconds",
            "From asking S3 for a model to its whole, verified file at the model path.",
            buckets=_DOWNLOAD_BUCKETS,
            registry=registry,
        )
        self.s3_model_info = Gauge(
            "als_s3_model_info",
            "1 for each of the last models that came from S3; the version joins it with als_model_info.",
            ["version", "key", "version_id"],
            registry=registry,
        )

    def _serving(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "als_http_requests_total",
            "Requests by route template, method and status.",
            ["route", "method", "status"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "als_http_request_duration_seconds",
            "From the request's headers read to its answer handed over.",
            ["route"],
            buckets=_REQUEST_BUCKETS,
            registry=registry,
        )
        self.requests_in_flight = Gauge("als_http_requests_in_flight", "Requests being answered.", registry=registry)
        self.loop_lag_seconds = Histogram(
            "als_event_loop_lag_seconds",
            "How late the event loop woke a timer.",
            buckets=_LAG_BUCKETS,
            registry=registry,
        )
