"""The kinds of panels on the dashboard, and their shared PromQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, dashboard, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import table as tables
from grafana_foundation_sdk.builders.common import GraphThresholdsStyleConfig, ReduceDataOptions, StackingConfig
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from service.observe.metrics import ARM, table

SOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
#: The selection by the variables at the top of the dashboard.
CHOSEN = 'job=~"$job", instance=~"$instance"'
CHOSEN_ARMS = 'arm=~"$arm"'
_BY_ARM = {row.name for row in table().values() if ARM in row.labels}

#: Legend -> PromQL.
Queries = Mapping[str, str]
#: Thresholds and their colours; the first colour is for everything below.
Steps = Sequence[tuple[float | None, str]]

BLUE: Steps = [(None, "blue")]
LAST = ReduceDataOptions().calcs(["lastNotNull"])
AnyPanel = stat.Panel | tables.Panel | timeseries.Panel | heatmap.Panel | bargauge.Panel
Kind = TypeVar("Kind", stat.Panel, tables.Panel, timeseries.Panel, heatmap.Panel, bargauge.Panel)


def of(metric: str, *matchers: str) -> str:
    """Return a metric's series of the chosen servers, and of the chosen arms if it is counted by arm."""
    chosen = (CHOSEN, CHOSEN_ARMS) if metric.removesuffix("_bucket") in _BY_ARM else (CHOSEN,)
    return f"{metric}{{{', '.join((*chosen, *matchers))}}}"


def rate(metric: str, *matchers: str) -> str:
    """Return a counter's rate per second."""
    return f"rate({of(metric, *matchers)}[$__rate_interval])"


def quantile(share: float, histogram: str, *matchers: str, by: str = "") -> str:
    """Return a quantile of a histogram, for each value of a label."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) ({rate(histogram + '_bucket', *matchers)}))"


def quantiles(histogram: str, *matchers: str) -> Queries:
    """Return the three quantiles shown."""
    return {f"p{100 * share:.0f}": quantile(share, histogram, *matchers) for share in (0.5, 0.95, 0.99)}


def mean(histogram: str) -> str:
    """Return the mean of what a histogram observed."""
    return f"sum({rate(histogram + '_sum')}) / (sum({rate(histogram + '_count')}) > 0)"


def number(title: str, description: str, queries: Queries, unit: str, steps: Steps = BLUE, span: int = 4) -> stat.Panel:
    """Make large numbers, coloured by value, with their history in the background."""
    panel = _panel(stat.Panel(), title, description, unit, steps, span).height(4)
    panel = panel.color_mode(common.BigValueColorMode.BACKGROUND).reduce_options(LAST)
    return _asking(panel, queries)


def words(
    title: str, description: str, queries: Queries, said: Mapping[int, tuple[str, str]], span: int = 4
) -> stat.Panel:
    """Make large words: each value has a word and a colour."""
    results = {str(value): ValueMappingResult(text=text, color=color) for value, (text, color) in said.items()}
    mappings: list[ValueMapping] = [ValueMap(options=results)]
    panel = number(title, description, queries, "none", span=span).mappings(mappings)
    return panel.graph_mode(common.BigValueGraphMode.NONE).text_mode(common.BigValueTextMode.VALUE_AND_NAME)


def lines(
    title: str, description: str, queries: Queries, unit: str, steps: Steps = BLUE, span: int = 8
) -> timeseries.Panel:
    """Make lines over time; steps are drawn as dashed lines."""
    panel = _panel(timeseries.Panel(), title, description, unit, steps, span).height(8)
    if len(steps) > 1:
        panel = panel.thresholds_style(GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED))
    return _asking(panel.fill_opacity(10).show_points(common.VisibilityMode.NEVER), queries)


def stacked(title: str, description: str, queries: Queries, unit: str, span: int = 8) -> timeseries.Panel:
    """Make stacked areas over time."""
    panel = lines(title, description, queries, unit, span=span).fill_opacity(40)
    return panel.stacking(StackingConfig().mode(common.StackingMode.NORMAL))


def bars(title: str, description: str, queries: Queries, unit: str, span: int = 8) -> bargauge.Panel:
    """Make a bar for each series' last value."""
    panel = _panel(bargauge.Panel(), title, description, unit, BLUE, span).height(8)
    return _asking(panel.orientation(common.VizOrientation.HORIZONTAL).reduce_options(LAST), queries)


def density(title: str, description: str, histogram: str, unit: str, *matchers: str, span: int = 8) -> heatmap.Panel:
    """Make a heat map over time: the more observations, the brighter."""
    panel = _panel(heatmap.Panel(), title, description, unit, BLUE, span).height(8)
    panel = panel.y_axis(heatmap.YAxisConfig().unit(unit))
    query = f"sum by (le) (increase({of(histogram + '_bucket', *matchers)}[$__rate_interval]))"
    target = prometheus.Dataquery().expr(query).legend_format("{{le}}").format(PromQueryFormat.HEATMAP).range()
    return panel.with_target(target.ref_id("A"))


def rows(
    title: str, description: str, queries: Queries, units: Mapping[str, str], hidden: Sequence[str], span: int = 24
) -> tables.Panel:
    """Make a table: a row for each instance, a column for each query and each label that is not hidden."""
    panel = _panel(tables.Panel(), title, description, "none", BLUE, span).height(6)
    names = {f"Value #{letter}": name for letter, name in zip("ABCDEFGH", queries, strict=False)}
    for letter, expression in zip("ABCDEFGH", queries.values(), strict=False):
        target = prometheus.Dataquery().expr(expression).format(PromQueryFormat.TABLE).instant().ref_id(letter)
        panel = panel.with_target(target)
    excluded = dict.fromkeys(("Time", "__name__", "job", *hidden), True)
    panel = panel.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    organize = DataTransformerConfig(id_val="organize", options={"excludeByName": excluded, "renameByName": names})
    panel = panel.with_transformation(organize)
    for name, unit in units.items():
        panel = panel.override_by_name(name, [DynamicConfigValue(id_val="unit", value=unit)])
    return panel


def _panel(panel: Kind, title: str, description: str, unit: str, steps: Steps, span: int) -> Kind:
    colours = [Threshold(value=value, color=colour) for value, colour in steps]
    thresholds = dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(colours)
    return panel.title(title).description(description).datasource(SOURCE).unit(unit).thresholds(thresholds).span(span)


def _asking(panel: Kind, queries: Queries) -> Kind:
    for letter, (legend, expression) in zip("ABCDEFGH", queries.items(), strict=False):
        target = prometheus.Dataquery().expr(expression).legend_format(legend).range().ref_id(letter)
        panel = panel.with_target(target)
    return panel
