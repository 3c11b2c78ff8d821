"""The dashboard's panels about models: their scores, and how they arrive."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.panels import (
    AnyPanel,
    bars,
    density,
    lines,
    mean,
    number,
    of,
    quantile,
    quantiles,
    rate,
    rows,
    stacked,
    words,
)
from grafana.serving import API, SECONDS

UNCHANGED = 'outcome="unchanged"'
KINDS = ("recommendation", "individual", "popularity")


def scores() -> Iterator[AnyPanel]:
    """Make panels that show whether recommendations have changed."""
    ranges = {kind: of("als_model_score", f'kind="{kind}"') for kind in KINDS}
    yield lines(
        "Scores of recommendations",
        "The range of recommendation scores, measured at import. A jump at a swap means that the model was trained on "
        "different data or parameters.",
        {"{{statistic}}": f"avg by (statistic) ({ranges['recommendation']})"},
        "none",
    )
    yield lines(
        "Scores of random pairs",
        "The score range of random pairs of a user and an item.",
        {"{{statistic}}": f"avg by (statistic) ({ranges['individual']})"},
        "none",
    )
    yield density(
        "Top scores served",
        "The highest score of each list of recommendations from factors.",
        "als_result_top_score",
        "none",
    )
    yield lines(
        "Top scores served, median",
        "If it leaves the model's own range (left), users differ from those in the training data.",
        {"{{strategy}}": quantile(0.5, "als_result_top_score", 'strategy="als"', by="strategy")},
        "none",
    )
    yield lines(
        "Items scanned per list",
        "How far the exact search went. Near the number of items, every list costs a full scan.",
        quantiles("als_result_scanned_items", 'strategy="als"'),
        "short",
    )
    yield lines(
        "Popularity",
        "Users per item: the most popular item, the mean, and so on.",
        {"{{statistic}}": f"avg by (statistic) ({ranges['popularity']})"},
        "short",
    )


def loading() -> Iterator[AnyPanel]:
    """Make panels about the arrival of models."""
    yield bars(
        "Load phases",
        "Load time of the served model on the slowest server: verify (hash), read, validate, arrange, analyse and "
        "write in the import process; open, warm and swap in the server.",
        {"{{phase}}": f"max by (phase) ({of('als_model_load_seconds')})"},
        "s",
    )
    yield bars(
        "Reloads",
        "Reloads in the time range shown, by outcome and reason.",
        {
            "{{outcome}} {{reason}}": "sum by (outcome, reason) "
            f"(increase({of('als_model_reloads_total')}[$__range])) > 0"
        },
        "short",
    ).decimals(0)
    yield lines(
        "Model age by server",
        "Time since each served model was trained.",
        {"{{instance}}": f"time() - ({of('als_model_made_timestamp_seconds')} > 0)"},
        "s",
        [(None, "green"), (7 * 86400, "orange")],
    )


def rollout() -> Iterator[AnyPanel]:
    """Make panels about what keeps bad models out."""
    yield words(
        "Blocked by gates",
        "Whether a gate keeps the model at the path out, because it differs too much from the served one; GET "
        "/v1/model says how.",
        {"{{gate}}": f"max by (gate) ({of('als_gate_blocks')})"},
        {1: ("blocks", "red"), 0: ("does not", "green")},
        span=9,
    )
    yield words(
        "Pinned",
        "Whether an administrator has pinned a version, so that no new model is taken.",
        {"{{instance}}": of("als_model_pinned")},
        {1: ("yes", "orange"), 0: ("no", "green")},
        span=5,
    )
    yield words(
        "On probation",
        "Whether the answers of a new model are watched, for a minute after each swap.",
        {"{{instance}}": of("als_model_on_probation")},
        {1: ("yes", "blue"), 0: ("no", "green")},
        span=5,
    )
    yield number(
        "Automatic returns",
        "How often, in the time range shown, a new model was quarantined and the one before it was back, because too "
        "many answers were empty or failures.",
        {"": f"sum(increase({of('als_model_returns_total')}[$__range]))"},
        "none",
        [(None, "green"), (0.5, "red")],
        span=5,
    ).decimals(0)
    yield bars(
        "Results of gates",
        "What gates found about new models in the time range shown. Warned: let in all the same; accepted: a person "
        "had let it in.",
        {"{{gate}} {{result}}": f"sum by (gate, result) (increase({of('als_gate_results_total')}[$__range])) > 0"},
        "short",
    ).decimals(0)
    yield lines(
        "Items and users left out",
        "Items of the served model that the catalog or a list withholds, and users who are hidden.",
        {
            "unavailable items {{instance}}": of("als_items_unavailable"),
            "hidden users {{instance}}": of("als_users_hidden"),
        },
        "short",
    )
    yield lines(
        "Items in the catalog",
        "Items of the served model that the catalog lists, and all items of the model. The others have no attributes, "
        "so no filter finds them.",
        {
            "in the catalog {{instance}}": of("als_catalog_listed_items"),
            "in the model {{instance}}": of("als_model_items"),
        },
        "short",
    )


def candidate() -> Iterator[AnyPanel]:
    """Make panels that compare the candidate with the served model."""
    yield lines(
        "Users with the candidate",
        "The percentage of users who get the candidate instead of the served model; 0 without a candidate.",
        {"{{instance}}": of("als_candidate_percent")},
        "percent",
    )
    yield lines(
        "Empty or failed answers by arm",
        "The share of lists that are empty although the request left nothing out, and of failed requests, for the "
        "served model and for the candidate.",
        {"{{arm}}": 'job_arm:als_bad_answers:ratio_rate15m{job=~"$job", arm=~"$arm"}'},
        "percentunit",
    )
    yield lines(
        "Latency by arm, p99",
        "The time within which 99 of 100 requests to the API are answered.",
        {"{{arm}}": quantile(0.99, SECONDS, API, by="arm")},
        "s",
    )
    yield lines(
        "In common with the served model",
        "Of the requests that the candidate also answers in the background: the mean share of the first ten items that "
        "both lists have, and how alike their order is, from 0 (reverse) to 1 (the same).",
        {
            "items": mean("als_shadow_overlap_ratio"),
            "order": mean("als_shadow_rank_correlation_ratio"),
        },
        "percentunit",
    )
    yield stacked(
        "Answers in the background",
        "Compared with the served model's, failed, or dropped because too many waited; clients notice none of this.",
        {"{{outcome}}": f"sum by (outcome) ({rate('als_shadow_requests_total')})"},
        "ops",
    )
    yield lines(
        "Time in the background",
        "How long the candidate takes for a list in the background, with a low priority.",
        quantiles("als_shadow_duration_seconds"),
        "s",
    )


def s3() -> Iterator[AnyPanel]:
    """Make panels about S3."""
    yield stacked(
        "Polls by outcome",
        "The normal outcome is unchanged; failed has a reason.",
        {
            "{{outcome}} {{reason}}": f"sum by (outcome, reason) ({rate('als_s3_polls_total')}) > 0 or "
            f"sum by (outcome, reason) ({rate('als_s3_polls_total', UNCHANGED)})"
        },
        "ops",
        span=6,
    )
    yield lines(
        "Time since the last good poll",
        "Rises while S3 cannot be reached; the served model stays. The dashed line is the alert's threshold, "
        "or three polling intervals if that is longer.",
        {"{{instance}} {{object}}": of("als_s3_seconds_since_success")},
        "s",
        [(None, "green"), (300, "red")],
        span=6,
    )
    yield lines(
        "Download",
        "Bytes of models and items downloaded per second.",
        {"{{instance}}": f"sum by (instance) ({rate('als_s3_download_bytes_total')})"},
        "Bps",
        span=6,
    )
    yield lines(
        "Download time",
        "How long a download takes.",
        quantiles("als_s3_download_seconds"),
        "s",
        span=6,
    )
    yield rows(
        "Objects served",
        "The S3 object that each server's model came from.",
        {"Object": f"{of('als_s3_model_info')} and on (job, instance, version) {of('als_model_info')}"},
        {},
        hidden=["Value", "Value #A"],
    )
