"""The dashboard's panels about the candidate, next to the served model."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.panels import AnyPanel, lines, of, quantile, rate, stacked
from grafana.serving import API, REQUESTS, SECONDS

FAILED = 'status=~"5..", status!="503"'


def candidate() -> Iterator[AnyPanel]:
    """Make panels that compare the arms; without a candidate, there is only the served one."""
    yield lines(
        "Users of the candidate",
        "The percentage of users who get the candidate; 0 while there is none. It should be the same everywhere.",
        {"{{instance}}": of("als_candidate_percent")},
        "percent",
    )
    yield stacked(
        "Requests by arm",
        "Requests to the API. What is not asked for one user is of the served model, and so is a batch.",
        {"{{arm}}": f"sum by (arm) ({rate(REQUESTS, API)})"},
        "reqps",
    )
    yield lines(
        "99th percentile by arm",
        "How long requests take whose answer came from the served model, or from the candidate.",
        {"{{arm}}": quantile(0.99, SECONDS, API, by="arm")},
        "s",
    )
    yield lines(
        "Empty lists and failures by arm",
        "The share of lists without an item, although the request left none out, and of requests that failed. The "
        "alert's threshold is how much more the candidate may have.",
        {
            "empty {{arm}}": f"sum by (arm) ({rate('als_results_empty_total')}) "
            f"/ (sum by (arm) ({rate('als_results_total')}) > 0)",
            "failed {{arm}}": f"(sum by (arm) ({rate(REQUESTS, API, FAILED)}) or 0 * sum by (arm) "
            f"({rate(REQUESTS, API)})) / (sum by (arm) ({rate(REQUESTS, API)}) > 0)",
        },
        "percentunit",
    )
    yield lines(
        "Agreement in the background",
        "Of requests that the candidate answers too, only to be compared: what the first ten items of both lists have "
        "in common, and whether that is in the same order (1) or in the reverse one (0).",
        {
            "in common": _mean("als_shadow_overlap_ratio"),
            "same order": _mean("als_shadow_rank_correlation_ratio"),
        },
        "percentunit",
    )
    yield stacked(
        "Requests in the background",
        "Requests that the candidate answers only to be compared. Dropped: too many were waiting.",
        {"{{outcome}}": f"sum by (outcome) ({rate('als_shadow_requests_total')})"},
        "reqps",
    )


def _mean(histogram: str) -> str:
    return f"sum({rate(f'{histogram}_sum')}) / (sum({rate(f'{histogram}_count')}) > 0)"
