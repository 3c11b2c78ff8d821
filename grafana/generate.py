"""The dashboards, for the person on call: is it serving, what, how fast, and what changed; and do all serve the same.

    python -m grafana.generate als-serve > grafana/dashboards/als-serve.json
    python -m grafana.generate als-serve-fleet > grafana/dashboards/als-serve-fleet.json

A test fails if a file differs from this output, or if a query has no result from a server under load.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count

from grafana_foundation_sdk.builders import dashboard, prometheus
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import VariableRefresh, VariableSort

from grafana import fleet, models, serving
from grafana.panels import SOURCE, AnyPanel, of

Rows = Mapping[str, Callable[[], Iterator[AnyPanel]]]
SERVING: Rows = {
    "Is it serving?": serving.is_it_serving,
    "Served models": serving.what_is_served,
    "Traffic": serving.traffic,
    "Scores": models.scores,
    "Loading": models.loading,
    "Rollout and policy": models.rollout,
    "Candidate": models.candidate,
    "S3": models.s3,
    "Process": serving.process,
}
FLEET: Rows = {
    "Is it one?": fleet.is_it_one,
    "Versions": fleet.versions,
    "Availability": fleet.availability,
}
#: By name: what each answers, and its rows.
DASHBOARDS = {
    "als-serve": ("Is it serving, what, how fast, and what changed.", SERVING),
    "als-serve-fleet": ("Do all servers serve the same, since when, and how even is their load.", FLEET),
}


def build(name: str) -> dashboard.Dashboard:
    """Build a dashboard."""
    description, rows = DASHBOARDS[name]
    board = dashboard.Dashboard(name).uid(name).tags(["als-serve"]).timezone("browser")
    board = board.description(description).refresh("30s").time("now-1h", "now")
    board = board.with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    board = board.with_variable(_variable("job", "Job", "label_values(als_model_ready, job)"))
    instances = 'label_values(als_model_ready{job=~"$job"}, instance)'
    board = board.with_variable(_variable("instance", "Instance", instances))
    board = board.with_variable(_variable("arm", "Arm", 'label_values(als_results_total{job=~"$job"}, arm)'))
    for annotation in events():
        board = board.annotation(annotation)
    numbers = count(1)
    for title, panels in rows.items():
        board = board.with_row(dashboard.Row(title).id(next(numbers)))
        for panel in panels():
            board = board.with_panel(panel.id(next(numbers)))
    return board


def events() -> Sequence[dashboard.AnnotationQuery]:
    """Mark swaps and rejections of models, at the time in the metric's value, not the time of the scrape."""
    swapped = (
        f"1000 * {of('als_model_loaded_timestamp_seconds')} * on (job, instance) group_left (version) "
        f"{of('als_model_info')}"
    )
    refused = (
        f"1000 * ({of('als_model_last_reload_timestamp_seconds')} > 0) and on (job, instance) "
        f"{of('als_model_last_reload_successful')} == 0"
    )
    return [
        _annotation("Swaps", "blue", swapped, "{{instance}} serves {{version}}"),
        _annotation("Rejected models", "red", refused, "{{instance}} rejected a model"),
    ]


def _annotation(name: str, color: str, expression: str, title: str) -> dashboard.AnnotationQuery:
    target = prometheus.Dataquery().expr(expression).ref_id("Anno").range()
    query = dashboard.AnnotationQuery().name(name).datasource(SOURCE).icon_color(color).target(target)
    return query.title_format(title).use_value_for_time(True)


def _variable(name: str, label: str, query: str) -> dashboard.QueryVariable:
    variable = dashboard.QueryVariable(name).label(label).datasource(SOURCE).query(query).definition(query)
    variable = variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
    return variable.multi(True).include_all(True).all_value(".+")


if __name__ == "__main__":
    print(json.dumps(build(sys.argv[1]).build(), cls=JSONEncoder, indent=2, ensure_ascii=False, sort_keys=True))
