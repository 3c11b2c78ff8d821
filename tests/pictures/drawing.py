"""A dashboard as SVG: its panels where they are, with what their queries answered; Grafana draws it more richly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import pairwise
from math import ceil, isnan
from typing import Any, NamedTuple

COLUMN, ROW, GAP, HEAD, LEGEND = 56, 30, 6, 22, 34
COLOURS = ("#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#96d98d")
NAMED = {"green": "#37872d", "orange": "#e0752d", "red": "#c4162a", "blue": "#1f60c4"}
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""))
_TIMES = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs"))


class Series(NamedTuple):
    """What one series of a query answered: its legend, its labels, and its values at even times (or NaN)."""

    legend: str
    labels: dict[str, str]
    values: list[float]


Marks = Sequence[tuple[float, str]]


class Box(NamedTuple):
    """Where something is drawn."""

    x: float
    y: float
    width: float
    height: float


def draw(dashboard: dict[str, Any], answers: dict[int, list[Series]], marks: Marks) -> str:
    """Return a dashboard as SVG.

    ``answers`` has what the queries of each panel answered, by its id; ``marks`` has the annotations: at what share of
    the time, and in which colour.
    """
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"]) * ROW
    shapes = [shape for panel in dashboard["panels"] for shape in _panel(panel, answers.get(panel["id"], []), marks)]
    size = f'width="{24 * COLUMN}" height="{height}" viewBox="0 0 {24 * COLUMN} {height}"'
    style = 'font-family="DejaVu Sans, Verdana, sans-serif" font-size="11" fill="#d8d9da"'
    background = '<rect width="100%" height="100%" fill="#111217"/>'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>', background, *shapes, "</svg>", ""])


def _panel(panel: dict[str, Any], answers: Sequence[Series], marks: Marks) -> Iterator[str]:
    place = panel["gridPos"]
    box = Box(place["x"] * COLUMN, place["y"] * ROW, place["w"] * COLUMN - GAP, place["h"] * ROW - GAP)
    if panel["type"] == "row":
        yield _text(box.x + 4, box.y + 18, panel["title"], 'font-size="14" font-weight="bold"')
        return
    yield _rect(box, "#181b1f", 'stroke="#2c3235"')
    yield _text(box.x + 8, box.y + 15, panel["title"], 'font-weight="bold"')
    inner = Box(box.x + 8, box.y + HEAD, box.width - 16, box.height - HEAD - 8)
    if not answers:
        middle = inner.x + inner.width / 2, inner.y + inner.height / 2
        yield _text(*middle, "No data", 'text-anchor="middle" opacity="0.6"')
        return
    yield from _KINDS[panel["type"]](inner, answers, panel["fieldConfig"]["defaults"])
    if panel["type"] == "timeseries":
        plot = _plot(inner)
        for share, colour in marks:
            x = plot.x + share * plot.width
            yield f'<path d="M{x:.1f} {plot.y:.1f}v{plot.height:.1f}" stroke="{NAMED[colour]}" stroke-dasharray="3 3"/>'


def _numbers(box: Box, answers: Sequence[Series], field: dict[str, Any]) -> Iterator[str]:
    width = box.width / len(answers)
    for place, series in enumerate(answers):
        part = Box(box.x + place * width, box.y, width - 3, box.height)
        word, colour = _said(series.values[-1], field)
        middle = part.x + part.width / 2
        yield _rect(part, NAMED[colour])
        yield _text(middle, part.y + 14, series.legend, 'text-anchor="middle" fill="white"')
        size = min(30.0, 1.5 * part.width / len(word))
        style = f'text-anchor="middle" fill="white" font-size="{size:.0f}"'
        yield _text(middle, part.y + part.height - 18, word, style)


def _lines(box: Box, answers: Sequence[Series], field: dict[str, Any]) -> Iterator[str]:
    unit, stacked = field["unit"], field["custom"].get("stacking", {}).get("mode") == "normal"
    drawn = _stacked(answers) if stacked else [series.values for series in answers]
    known = [value for values in drawn for value in values if not isnan(value)]
    top, bottom = max(known), min(0.0, *known)
    plot = _plot(box)
    for part in (0.0, 0.5, 1.0):
        y = plot.y + plot.height * (1 - part)
        yield f'<path d="M{plot.x:.0f} {y:.1f}h{plot.width:.0f}" stroke="#2c3235"/>'
        yield _text(plot.x - 4, y + 4, written(bottom + part * (top - bottom), unit), 'text-anchor="end" opacity="0.7"')
    for place, values in enumerate(drawn):
        scaled = [(value - bottom) / ((top - bottom) or 1) for value in values]
        yield _path(plot, scaled, COLOURS[place % len(COLOURS)])
    yield from _legend(box, [series.legend for series in answers])


def _plot(box: Box) -> Box:
    """Return where lines are drawn, between the values at the left and the legend below."""
    return Box(box.x + 52, box.y + 4, box.width - 52, box.height - LEGEND)


def _stacked(answers: Sequence[Series]) -> list[list[float]]:
    below, drawn = [0.0] * len(answers[0].values), []
    for series in answers:
        below = [low + (0 if isnan(value) else value) for low, value in zip(below, series.values, strict=True)]
        drawn.append(below)
    return drawn


def _path(plot: Box, shares: Sequence[float], colour: str) -> str:
    step = plot.width / max(1, len(shares) - 1)
    points = [
        f"{'L' if n and not isnan(before) else 'M'}{plot.x + n * step:.1f} {plot.y + plot.height * (1 - share):.1f}"
        for n, (before, share) in enumerate(zip([0.0, *shares], shares, strict=False))
        if not isnan(share)
    ]
    return f'<path d="{"".join(points)}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _legend(box: Box, legends: Sequence[str]) -> Iterator[str]:
    x, y = box.x, box.y + box.height - 14
    for place, legend in enumerate(legends):
        width = 16 + 6.4 * len(legend)
        if x + width > box.x + box.width:
            x, y = box.x, y + 14
        if y > box.y + box.height:
            return
        yield f'<circle cx="{x + 4:.0f}" cy="{y - 4:.0f}" r="4" fill="{COLOURS[place % len(COLOURS)]}"/>'
        yield _text(x + 11, y, legend, 'opacity="0.8"')
        x += width + 8


def _bars(box: Box, answers: Sequence[Series], field: dict[str, Any]) -> Iterator[str]:
    height, longest = box.height / len(answers), max(series.values[-1] for series in answers) or 1
    for place, series in enumerate(answers):
        y, value = box.y + place * height, series.values[-1]
        yield _rect(Box(box.x + 130, y, (box.width - 210) * value / longest, height - 4), NAMED["blue"])
        yield _text(box.x + 124, y + height / 2 + 2, series.legend, 'text-anchor="end"')
        yield _text(box.x + box.width, y + height / 2 + 2, written(value, field["unit"]), 'text-anchor="end"')


def _heatmap(box: Box, answers: Sequence[Series], field: dict[str, Any]) -> Iterator[str]:
    buckets = sorted(answers, key=lambda series: float(series.labels["le"]))
    columns = list(zip(*(series.values for series in buckets), strict=True))
    within = [[column[0], *(high - low for low, high in pairwise(column))] for column in columns]
    most = max(count for column in within for count in column if not isnan(count)) or 1
    plot = Box(box.x + 52, box.y, box.width - 52, box.height)
    width, height = plot.width / len(columns), plot.height / len(buckets)
    for place, series in enumerate(buckets):
        y = plot.y + plot.height - (place + 1) * height
        if place % ceil(len(buckets) / 10) == 0:
            bound = written(float(series.labels["le"]), field["unit"])
            yield _text(plot.x - 4, y + height / 2 + 4, bound, 'text-anchor="end" opacity="0.7"')
        for n, column in enumerate(within):
            if column[place] > 0:
                cell = Box(plot.x + n * width, y, width - 0.5, height - 0.5)
                yield _rect(cell, "#ff780a", f'opacity="{0.15 + 0.85 * column[place] / most:.2f}"')


def _table(box: Box, answers: Sequence[Series], field: dict[str, Any]) -> Iterator[str]:
    cells = {name: text for series in answers for name, text in _cells(series).items()}
    width = box.width / max(1, len(cells))
    for place, (name, text) in enumerate(cells.items()):
        yield _text(box.x + place * width, box.y + 14, name, 'font-weight="bold" fill="#8ab8ff"')
        yield _text(box.x + place * width, box.y + 36, text)


def _cells(series: Series) -> dict[str, str]:
    labels = {name: text for name, text in series.labels.items() if name not in ("__name__", "job")}
    if series.labels.get("__name__", "").endswith("_info"):
        return labels
    value = series.values[-1]
    moment = value > 1e12  # milliseconds, and no number of users is as large
    return {series.legend: f"{datetime.fromtimestamp(value / 1000, UTC):%Y-%m-%d %H:%M}" if moment else f"{value:,.0f}"}


_KINDS = {"stat": _numbers, "timeseries": _lines, "bargauge": _bars, "heatmap": _heatmap, "table": _table}


def _said(value: float, field: dict[str, Any]) -> tuple[str, str]:
    """Return the word and the colour of a value: by its mapping, or by the thresholds."""
    for mapping in field.get("mappings", []):
        if f"{value:.0f}" in mapping["options"]:
            result = mapping["options"][f"{value:.0f}"]
            return result["text"], result["color"]
    steps = field["thresholds"]["steps"]
    colour = next(step["color"] for step in reversed(steps) if step["value"] is None or value >= step["value"])
    return written(value, field["unit"]), colour


def written(value: float, unit: str) -> str:
    """Return a value with a unit as Grafana would write it."""
    if value == float("inf"):
        return "more"
    if unit == "percentunit":
        return f"{100 * value:.3g}%"
    scales = _TIMES if unit == "s" else _PREFIXES
    after = {"reqps": " req/s", "ops": " /s", "bytes": "B", "Bps": "B/s"}.get(unit, "")
    if not value:
        return f"0{' s' if unit == 's' else after}"
    size, prefix = next((scale for scale in scales if abs(value) >= scale[0]), (1, "" if unit != "s" else "s"))
    return f"{value / size:.3g}{' ' if unit == 's' else ''}{prefix}{after}"


def _rect(box: Box, fill: str, more: str = "") -> str:
    place = f'x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"'
    return f'<rect {place} rx="2" fill="{fill}" {more}/>'


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(text)}</text>'
