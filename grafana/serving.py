"""What the dashboard shows of serving: whether it does, what, how fast, and what that takes."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.panels import AnyPanel, Steps, density, lines, number, of, quantile, quantiles, rate, rows, stacked, words

API = 'route=~"/v1/.*"'
FAILED = 'status=~"5.."'
REQUESTS, SECONDS = "als_http_requests_total", "als_http_request_duration_seconds"
YES, NO = ("yes", "orange"), ("no", "green")


def is_it_serving() -> Iterator[AnyPanel]:
    """Say first what matters most."""
    up = of("up")
    yield words(
        "Serving",
        "Whether each server answers with a model. NO: it cannot be scraped, or has no model yet.",
        {"{{instance}}": f"{of('als_model_ready')} or on (job, instance) 0 * {up}"},
        {1: ("SERVING", "green"), 0: ("NOT SERVING", "red")},
        span=8,
    )
    yield words(
        "Trouble with the model",
        "Stale: another model than the one at the path is served. Limited: only what is popular. Refused: the last "
        "file was not taken; GET /v1/model says why.",
        {
            "stale": f"max({of('als_model_stale')})",
            "limited": f"max({of('als_model_limited')})",
            "last file refused": f"max(({of('als_model_last_reload_successful')} == bool 0) * "
            f"({of('als_model_last_reload_timestamp_seconds')} > bool 0))",
        },
        {1: YES, 0: NO},
        span=8,
    )
    yield number(
        "Alerts",
        "Alerts that fire now; the runbook says what each means.",
        {"{{alertname}}": 'sum by (alertname) (ALERTS{alertstate="firing", alertname=~"Als.*"})'},
        "none",
        [(None, "red")],
        span=8,
    ).no_value("none")
    yield number("Requests", "Requests to the API a second.", {"": f"sum({rate(REQUESTS, API)})"}, "reqps")
    yield number(
        "Failed",
        "The share of requests to the API that got a status of 500 or above.",
        {"": _error_ratio()},
        "percentunit",
        _raising(0.001, 0.01),
    )
    yield number(
        "Latency, p99",
        "All but one in a hundred requests to the API are answered within this time.",
        {"": quantile(0.99, SECONDS, API)},
        "s",
        _raising(0.05, 0.1),
    )
    yield number(
        "Model's age",
        "Since the oldest served model was trained.",
        {"": f"time() - min({of('als_model_made_timestamp_seconds')} > 0)"},
        "s",
        _raising(3 * 86400, 7 * 86400),
    )
    yield number(
        "Versions",
        "How many different models are served; more than one only while a new one spreads.",
        {"": f"count(count by (version) ({of('als_model_info')}))"},
        "none",
        [(None, "green"), (2, "orange")],
    )
    yield number(
        "Event loop's lag, p99",
        "How late the event loop is, and every request with it.",
        {"": quantile(0.99, "als_event_loop_lag_seconds")},
        "s",
        _raising(0.01, 0.05),
    )


def what_is_served() -> Iterator[AnyPanel]:
    """Tell which model is where."""
    milliseconds = "dateTimeAsLocal"
    yield rows(
        "What is served where",
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
    """Tell what is asked, and how it is answered."""
    yield stacked(
        "Requests by status",
        "All requests, health checks too. 4xx is a client's mistake, 5xx ours, 499 a client that went away.",
        {"{{status}}": f"sum by (status) ({rate(REQUESTS)})"},
        "reqps",
    )
    yield lines(
        "Failed, over time",
        "The share of requests to the API that got a status of 500 or above; the dashed line is where the alert is.",
        {"failed": _error_ratio()},
        "percentunit",
        [(None, "green"), (0.01, "red")],
    )
    yield lines(
        "Latency",
        "From a request's headers read to its answer handed over; the dashed line is where the alert is.",
        quantiles(SECONDS, API),
        "s",
        [(None, "green"), (0.1, "red")],
    )
    yield density("Latency, all of it", "How many requests took how long.", SECONDS, "s", API)
    yield lines(
        "Latency by route, p99",
        "Batches and explanations cost more than one user's recommendations.",
        {"{{route}}": quantile(0.99, SECONDS, API, by="route")},
        "s",
    )
    yield stacked(
        "Requests by route",
        "What is asked; unmatched is a path that is none of ours.",
        {"{{route}}": f"sum by (route) ({rate(REQUESTS)})"},
        "reqps",
    )
    yield lines(
        "In flight",
        "Requests being answered now.",
        {"{{instance}}": of("als_http_requests_in_flight")},
        "short",
    )
    yield lines(
        "Event loop's lag",
        "How late a timer wakes: what every request waits for besides its own work.",
        quantiles("als_event_loop_lag_seconds"),
        "s",
        [(None, "green"), (0.05, "red")],
    )
    yield stacked(
        "Recommendations by strategy",
        "What users get: als if the model knows them, fold_in for new ones who named items, popular for the others. If "
        "those become more, the model is old, or another one's.",
        {"{{strategy}}": f"sum by (strategy) ({rate('als_results_total')})"},
        "ops",
    )


def process() -> Iterator[AnyPanel]:
    """Tell what the servers take."""
    yield lines(
        "Memory",
        "The process, the part of the model's snapshot that is in memory, and the snapshot. Where the second is below "
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
        "Earlier models still held",
        "Snapshots that were replaced and that long queries still answer from; soon 0 again after each swap.",
        {"{{instance}}": of("als_model_snapshots_held")},
        "short",
    )
    yield lines(
        "Processor",
        "Processors that the service uses. One is all that an event loop can take; each worker has one.",
        {"{{instance}}": rate("process_cpu_seconds_total")},
        "short",
        [(None, "green"), (0.9, "orange")],
    )
    yield lines(
        "Connections",
        "Open connections of clients, and how many there may be: above that, the one that has been silent for longest "
        "is closed.",
        {"{{instance}}": of("als_connections"), "at most, {{instance}}": of("als_connections_limit")},
        "short",
    )
    yield stacked(
        "Connections closed, queries abandoned",
        "To stay within the budget: idle or refused at the limit, answers left unread for too long or in too many "
        "bytes. Abandoned: the client hung up on a long query.",
        {
            "{{reason}}": f"sum by (reason) ({rate('als_connections_closed_total')})",
            "not accepted": f"sum({rate('als_accept_errors_total')})",
            "query abandoned": f"sum({rate('als_queries_abandoned_total')})",
        },
        "ops",
    )
    yield lines(
        "Answers unread",
        "Bytes of answers that clients have not read yet.",
        {"unread {{instance}}": of("als_unsent_bytes")},
        "bytes",
    )
    yield lines(
        "Long queries", "Those that run in a thread, or wait for one.", {"{{instance}}": of("als_queries")}, "short"
    )
    yield lines(
        "Workers",
        "Processes that answer, and how many ended and were replaced in the last hour; none with one process.",
        {
            "answer {{instance}}": of("als_workers"),
            "ended {{instance}}": f"increase({of('als_worker_ends_total')}[1h])",
        },
        "short",
    )
    yield lines("Open files", "Connections, mapped files and so on.", {"{{instance}}": of("process_open_fds")}, "short")
    yield words(
        "File events",
        "Whether the file system tells of changes; else a new file is noticed by looking every few seconds.",
        {"{{instance}}": of("als_watcher_up")},
        {1: ("arrive", "green"), 0: ("only looking", "orange")},
        span=8,
    )
    yield number(
        "Trainings",
        "Trainings for want of a model since the start, by outcome.",
        {"{{outcome}}": f"sum by (outcome) ({of('als_trainings_total')})"},
        "none",
        span=8,
    )


def _raising(orange: float, red: float) -> Steps:
    return [(None, "green"), (orange, "orange"), (red, "red")]


def _error_ratio() -> str:
    return f"(sum({rate(REQUESTS, API, FAILED)}) or vector(0)) / sum({rate(REQUESTS, API)})"
