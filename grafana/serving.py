"""The dashboard's panels about serving: state, models, traffic and resources."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.panels import AnyPanel, Steps, density, lines, number, of, quantile, quantiles, rate, rows, stacked, words

API = 'route=~"/v1/.*"'
FAILED = 'status=~"5.."'
REQUESTS, SECONDS = "als_http_requests_total", "als_http_request_duration_seconds"
YES, NO = ("yes", "orange"), ("no", "green")


def is_it_serving() -> Iterator[AnyPanel]:
    """Make the most important panels."""
    up = of("up")
    yield words(
        "Serving",
        "Whether each server answers with a model. NO: it cannot be scraped, or has no model yet.",
        {"{{instance}}": f"{of('als_model_ready')} or on (job, instance) 0 * {up}"},
        {1: ("SERVING", "green"), 0: ("NOT SERVING", "red")},
        span=8,
    )
    yield words(
        "Model problems",
        "Stale: not the model at the path. Limited: only popular items are served. Rejected: the last "
        "file was rejected; GET /v1/model says why.",
        {
            "stale": f"max({of('als_model_stale')})",
            "limited": f"max({of('als_model_limited')})",
            "last file rejected": f"max(({of('als_model_last_reload_successful')} == bool 0) * "
            f"({of('als_model_last_reload_timestamp_seconds')} > bool 0))",
        },
        {1: YES, 0: NO},
        span=8,
    )
    yield number(
        "Alerts",
        "Firing alerts; the runbook explains each.",
        {"{{alertname}}": 'sum by (alertname) (ALERTS{alertstate="firing", alertname=~"Als.*"})'},
        "none",
        [(None, "red")],
        span=8,
    ).no_value("none")
    yield number("Requests", "Requests to the API per second.", {"": f"sum({rate(REQUESTS, API)})"}, "reqps")
    yield number(
        "Failed",
        "The share of requests to the API with a status of 500 or above.",
        {"": _error_ratio()},
        "percentunit",
        _raising(0.001, 0.01),
    )
    yield number(
        "Latency, p99",
        "The time within which 99 of 100 requests to the API are answered.",
        {"": quantile(0.99, SECONDS, API)},
        "s",
        _raising(0.05, 0.1),
    )
    yield number(
        "Model age",
        "Time since the oldest served model was trained.",
        {"": f"time() - min({of('als_model_made_timestamp_seconds')} > 0)"},
        "s",
        _raising(3 * 86400, 7 * 86400),
    )
    yield number(
        "Versions",
        "The number of different served models; more than one is normal only while a new one spreads.",
        {"": f"count(count by (version) ({of('als_model_info')}))"},
        "none",
        [(None, "green"), (2, "orange")],
    )
    yield number(
        "Event loop lag, p99",
        "How late the event loop is, which delays every request.",
        {"": quantile(0.99, "als_event_loop_lag_seconds")},
        "s",
        _raising(0.01, 0.05),
    )


def what_is_served() -> Iterator[AnyPanel]:
    """Make the panel that shows which server has which model."""
    milliseconds = "dateTimeAsLocal"
    yield rows(
        "Served models by server",
        "Each server's model: its version, when it was trained and put into service, how many models the process "
        "has served, and how large it is.",
        {
            "Serves": of("als_model_info"),
            "Trained": f"1000 * {of('als_model_made_timestamp_seconds')}",
            "In service since": f"1000 * {of('als_model_loaded_timestamp_seconds')}",
            "Generation": of("als_model_generation"),
            "Users": of("als_model_users"),
            "Items": of("als_model_items"),
            "Factors": of("als_model_factors"),
        },
        {"Trained": milliseconds, "In service since": milliseconds, "Users": "short", "Items": "short"},
        hidden=["Value #A"],
    )


def traffic() -> Iterator[AnyPanel]:
    """Make panels about requests and answers."""
    yield stacked(
        "Requests by status",
        "All requests, health checks included. 4xx is a client error, 5xx a server error, 499 a disconnected client.",
        {"{{status}}": f"sum by (status) ({rate(REQUESTS)})"},
        "reqps",
    )
    yield lines(
        "Failed requests",
        "The share of requests to the API with a status of 500 or above; the dashed line is the alert's threshold.",
        {"failed": _error_ratio()},
        "percentunit",
        [(None, "green"), (0.01, "red")],
    )
    yield lines(
        "Latency",
        "From reading a request's headers to handing over its answer; the dashed line is the alert's threshold.",
        quantiles(SECONDS, API),
        "s",
        [(None, "green"), (0.1, "red")],
    )
    yield density("Latency distribution", "The number of requests by duration.", SECONDS, "s", API)
    yield lines(
        "Latency by route, p99",
        "Batches and explanations cost more than one user's recommendations.",
        {"{{route}}": quantile(0.99, SECONDS, API, by="route")},
        "s",
    )
    yield stacked(
        "Requests by route",
        "The rate of each route; unmatched is an unknown path.",
        {"{{route}}": f"sum by (route) ({rate(REQUESTS)})"},
        "reqps",
    )
    yield lines(
        "In flight",
        "Requests being answered.",
        {"{{instance}}": of("als_http_requests_in_flight")},
        "short",
    )
    yield lines(
        "Event loop lag",
        "How late a timer wakes, which delays every request.",
        quantiles("als_event_loop_lag_seconds"),
        "s",
        [(None, "green"), (0.05, "red")],
    )
    yield stacked(
        "Recommendations by strategy",
        "What users get: als if the model knows them, session with what they did just now, fold_in for new users with "
        "given items, popular for others. If popular grows, the model is old or the wrong one.",
        {"{{strategy}}": f"sum by (strategy) ({rate('als_results_total')})"},
        "ops",
    )
    yield lines(
        "Answers from the cache",
        "The share of cacheable requests that were answered before by the same model; 0 after each swap.",
        {"{{arm}} {{instance}}": _share_of_hits()},
        "percentunit",
    )
    yield lines(
        "Memory read by searches",
        "Bytes of codes and factors read per second; each search reads all of a model whose norms hardly differ.",
        {"{{strategy}}": f"sum by (strategy) ({rate('als_result_scanned_bytes_total')})"},
        "Bps",
    )


def process() -> Iterator[AnyPanel]:
    """Make panels about resources."""
    yield lines(
        "Memory",
        "The process, the part of the snapshot in memory, and the snapshot. If the second is below "
        "the third, requests wait for the disk.",
        {
            "process {{instance}}": of("process_resident_memory_bytes"),
            "model in memory {{instance}}": of("als_model_resident_bytes"),
            "model {{instance}}": of("als_model_snapshot_bytes"),
            "model's file {{instance}}": of("als_model_source_bytes"),
        },
        "bytes",
    )
    yield lines(
        "Earlier models in use",
        "Replaced snapshots that long queries still use; back to 0 soon after each swap.",
        {"{{instance}}": of("als_model_snapshots_held")},
        "short",
    )
    yield lines(
        "Processor",
        "CPU cores in use; an event loop can use at most one, and each worker has one.",
        {"{{instance}}": rate("process_cpu_seconds_total")},
        "short",
        [(None, "green"), (0.9, "orange")],
    )
    yield lines(
        "Connections",
        "Open client connections and their limit; beyond it, the connection that has been idle longest is closed.",
        {"{{instance}}": of("als_connections"), "limit, {{instance}}": of("als_connections_limit")},
        "short",
    )
    yield stacked(
        "Connections closed, queries abandoned",
        "Closed to stay within limits: idle or refused at the limit, or too many answers unread or unread for too "
        "long. Abandoned: the client disconnected during a long query.",
        {
            "{{reason}}": f"sum by (reason) ({rate('als_connections_closed_total')})",
            "not accepted": f"sum({rate('als_accept_errors_total')})",
            "query abandoned": f"sum({rate('als_queries_abandoned_total')})",
        },
        "ops",
    )
    yield lines(
        "Unread answers",
        "Bytes of answers that clients have not read yet.",
        {"unread {{instance}}": of("als_unsent_bytes")},
        "bytes",
    )
    yield lines("Long queries", "Running in a thread or waiting for one.", {"{{instance}}": of("als_queries")}, "short")
    yield stacked(
        "Overload",
        "Long queries refused with 503: they would wait too long for a thread. Long explanations count as batches.",
        {"{{lane}}": f"sum by (lane) ({rate('als_queries_refused_total')})"},
        "ops",
    )
    yield lines(
        "Waiting for a thread, p99",
        "How long the long queries that are answered waited for a thread.",
        {"{{lane}}": quantile(0.99, "als_query_wait_seconds", by="lane")},
        "s",
    )
    yield lines(
        "Workers",
        "Processes that answer, and how many were replaced in the last hour; 0 if one process does everything.",
        {
            "answer {{instance}}": of("als_workers"),
            "ended {{instance}}": f"increase({of('als_worker_ends_total')}[1h])",
        },
        "short",
    )
    yield lines("Open files", "Connections, mapped files and so on.", {"{{instance}}": of("process_open_fds")}, "short")
    yield words(
        "File events",
        "Whether file events arrive; if not, a new file is found by polling every few seconds.",
        {"{{instance}}": of("als_watcher_up")},
        {1: ("arrive", "green"), 0: ("polling only", "orange")},
        span=8,
    )
    yield number(
        "Trainings",
        "Fallback trainings since the start, by outcome.",
        {"{{outcome}}": f"sum by (outcome) ({of('als_trainings_total')})"},
        "none",
        span=8,
    )


def _raising(orange: float, red: float) -> Steps:
    return [(None, "green"), (orange, "orange"), (red, "red")]


def _share_of_hits() -> str:
    hits, misses = rate("als_response_cache_hits_total"), rate("als_response_cache_misses_total")
    return f"{hits} / ({hits} + {misses} > 0)"


def _error_ratio() -> str:
    return f"(sum({rate(REQUESTS, API, FAILED)}) or vector(0)) / sum({rate(REQUESTS, API)})"
