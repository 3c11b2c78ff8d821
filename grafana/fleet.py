"""The panels of the fleet's page: do all servers serve the same, since when, and how even is their load."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.panels import AnyPanel, bars, lines, number, of, quantile, rate, rows, stacked
from grafana.serving import API, REQUESTS, SECONDS

INFO = of("als_model_info")
READY = of("als_model_ready")
GENERATION = of("als_model_generation")
STARTED = of("process_start_time_seconds")
REJECTED = of("als_model_reloads_total", 'outcome="rejected"')
#: When each server put its model into service, with the model's version.
LOADED = f"{of('als_model_loaded_timestamp_seconds')} * on (job, instance) group_left (version) {INFO}"
#: Only of servers that took it while they ran: others serve it since their start, which says nothing of a swap.
SWAPPED = f"({LOADED} and on (job, instance) {GENERATION} > 1)"
SKEW = f"max by (version) ({SWAPPED}) - min by (version) ({SWAPPED})"


def is_it_one() -> Iterator[AnyPanel]:
    """Make the most important panels."""
    yield number(
        "Ready servers",
        "Servers with a model, and all servers that are known. Kubernetes sends requests to the ready ones only.",
        {"ready": f"sum({READY})", "known": f"count({of('up')})"},
        "none",
        span=6,
    )
    yield number(
        "Served versions",
        "The number of different models that are served; more than one is normal only while a new one spreads.",
        {"": f"count(count by (version) ({INFO}))"},
        "none",
        [(None, "green"), (2, "orange")],
        span=6,
    )
    yield number(
        "Out of step",
        "Servers that serve another model than most. If it stays above 0, look for a rejection, or for a server that "
        "cannot reach S3.",
        {"": f"count({INFO}) - max(count by (version) ({INFO}))"},
        "none",
        [(None, "green"), (1, "orange")],
        span=6,
    )
    yield number(
        "Swap skew",
        "Time from the first server's swap to the last one's. Servers started since do not count.",
        {"{{version}}": SKEW},
        "s",
        [(None, "green"), (120, "orange")],
        span=6,
    ).no_value("none yet")


def versions() -> Iterator[AnyPanel]:
    """Make panels about the spread of models."""
    yield stacked(
        "Servers by version",
        "How a new model spreads: one colour takes over from the other.",
        {"{{version}}": f"count by (version) ({INFO})"},
        "none",
        span=12,
    )
    yield lines(
        "Swap skew by version",
        "Time between the first and the last server that swapped to a model, while it is served.",
        {"{{version}}": SKEW},
        "s",
        span=12,
    )
    yield lines(
        "Generations",
        "Models that each process has put into service. A line that falls is a restart; one that stays behind the "
        "others is a server that rejects or misses models.",
        {"{{instance}}": GENERATION},
        "none",
        span=12,
    )
    yield bars(
        "Rejections by server",
        "Models that each server rejected in the time range shown, by reason.",
        {"{{instance}} {{reason}}": f"sum by (instance, reason) (increase({REJECTED}[$__range])) > 0"},
        "none",
        span=12,
    ).decimals(0)
    milliseconds = "dateTimeAsLocal"
    yield rows(
        "Every server",
        "Its model, since when it serves that, how many it has served, and when its process started.",
        {
            "Serves": INFO,
            "Ready": READY,
            "In service since": f"1000 * {of('als_model_loaded_timestamp_seconds')}",
            "Generation": GENERATION,
            "Started": f"1000 * {STARTED}",
            "Rejected": f"sum by (instance) ({REJECTED})",
        },
        {"In service since": milliseconds, "Started": milliseconds},
        hidden=["Value #A"],
    )


def availability() -> Iterator[AnyPanel]:
    """Make panels about servers that come and go, and the load of each."""
    yield lines(
        "Ready and known servers",
        "During a rolling restart, ready servers never become fewer. The gap is of servers without a model.",
        {"ready": f"sum({READY})", "known": f"count({of('up')})"},
        "none",
    )
    yield lines(
        "Restarts",
        "How often the process of each server was replaced in the last hour. A new pod is a new server instead.",
        {"{{instance}}": f"changes({STARTED}[1h])"},
        "none",
    )
    yield lines("Uptime", "Time since each process started.", {"{{instance}}": f"time() - {STARTED}"}, "s")
    yield lines(
        "Requests by server",
        "Requests to the API per second. If one has far more than others, clients keep their connections to it.",
        {"{{instance}}": f"sum by (instance) ({rate(REQUESTS, API)})"},
        "reqps",
    )
    yield lines(
        "Latency by server, p99",
        "A server that is slower than the others lacks processor time or memory.",
        {"{{instance}}": quantile(0.99, SECONDS, API, by="instance")},
        "s",
    )
    yield lines(
        "Memory by server",
        "The process, with what it has mapped.",
        {"{{instance}}": of("process_resident_memory_bytes")},
        "bytes",
    )
