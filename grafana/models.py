"""What the dashboard shows of models: what their scores are like, and how they come."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.panels import AnyPanel, bars, density, lines, of, quantile, quantiles, rate, rows, stacked

UNCHANGED = 'outcome="unchanged"'
KINDS = ("recommendation", "individual", "popularity")


def scores() -> Iterator[AnyPanel]:
    """Tell whether recommendations are what they were."""
    ranges = {kind: of("als_model_score", f'kind="{kind}"') for kind in KINDS}
    yield lines(
        "Scores of recommendations",
        "The range of recommended scores, measured when the model was imported. A jump at a swap: it was trained on "
        "other data or with other parameters.",
        {"{{statistic}}": f"avg by (statistic) ({ranges['recommendation']})"},
        "none",
    )
    yield lines(
        "Scores of random pairs",
        "The same of random pairs of a user and an item.",
        {"{{statistic}}": f"avg by (statistic) ({ranges['individual']})"},
        "none",
    )
    yield density(
        "Top scores served",
        "The greatest score of each list that was answered from factors.",
        "als_result_top_score",
        "none",
    )
    yield lines(
        "Top scores served, median",
        "Where it leaves the model's own range (left), users differ from those that it was trained on.",
        {"{{strategy}}": quantile(0.5, "als_result_top_score", 'strategy="als"', by="strategy")},
        "none",
    )
    yield lines(
        "Items scanned for a list",
        "How far the exact search went. Near the number of items: norms are alike, and every list costs a full scan.",
        quantiles("als_result_scanned_items", 'strategy="als"'),
        "short",
    )
    yield lines(
        "Popularity",
        "Users of an item: of the most popular one, on average, and so on.",
        {"{{statistic}}": f"avg by (statistic) ({ranges['popularity']})"},
        "short",
    )


def loading() -> Iterator[AnyPanel]:
    """Tell how models arrive."""
    yield bars(
        "Load phases",
        "How long the served model took, on the slowest server: verify (hash), read, validate, arrange, analyse and "
        "write in the importing process, open, warm and swap in the server.",
        {"{{phase}}": f"max by (phase) ({of('als_model_load_seconds')})"},
        "s",
    )
    yield bars(
        "Reloads",
        "Looks at a changed file in the time that is shown, by how they ended; a rejection with its reason.",
        {
            "{{outcome}} {{reason}}": "sum by (outcome, reason) "
            f"(increase({of('als_model_reloads_total')}[$__range])) > 0"
        },
        "short",
    ).decimals(0)
    yield lines(
        "Model's age, by server",
        "Since each served model was trained.",
        {"{{instance}}": f"time() - ({of('als_model_made_timestamp_seconds')} > 0)"},
        "s",
        [(None, "green"), (7 * 86400, "orange")],
    )


def s3() -> Iterator[AnyPanel]:
    """Tell where models come from, if from S3."""
    yield stacked(
        "Polls by outcome",
        "The normal answer is unchanged; failed has its reason.",
        {
            "{{outcome}} {{reason}}": f"sum by (outcome, reason) ({rate('als_s3_polls_total')}) > 0 or "
            f"sum by (outcome, reason) ({rate('als_s3_polls_total', UNCHANGED)})"
        },
        "ops",
        span=6,
    )
    yield lines(
        "Since the last good poll",
        "Rises where S3 cannot be reached, and nothing else happens; the dashed line is where the alert is, "
        "or at three intervals of polling where those are longer.",
        {"{{instance}}": of("als_s3_seconds_since_success")},
        "s",
        [(None, "green"), (300, "red")],
        span=6,
    )
    yield lines(
        "Download",
        "Bytes a second that models come with.",
        {"{{instance}}": f"sum by (instance) ({rate('als_s3_download_bytes_total')})"},
        "Bps",
        span=6,
    )
    yield lines(
        "Download of a model",
        "How long a download takes.",
        quantiles("als_s3_download_seconds"),
        "s",
        span=6,
    )
    yield rows(
        "Objects served",
        "The object in S3 that each server's model came from.",
        {"Object": f"{of('als_s3_model_info')} and on (job, instance, version) {of('als_model_info')}"},
        {},
        hidden=["Value", "Value #A"],
    )
