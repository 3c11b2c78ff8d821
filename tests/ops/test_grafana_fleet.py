"""The fleet's page computes what it says, of a fleet in which servers differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ops.test_grafana import TARGETS, expanded
from tests.support.monitoring import prove

#: Instance -> its version, when it was put into service, how many models its process has served, and if it is ready.
SERVERS = {
    "a": ("new", 1000, 2, 1),
    "b": ("new", 1030, 5, 1),
    "c": ("new", 1400, 1, 1),  # restarted since
    "d": ("old", 200, 4, 1),
    "e": ("old", 210, 1, 1),
    "f": (None, None, 0, 0),
}


def series() -> dict[str, str]:
    """Return what Prometheus has scraped from the servers."""
    found: dict[str, float] = {}
    for instance, (version, loaded, generation, ready) in SERVERS.items():
        labels = f'job="als-serve", instance="{instance}"'
        found[f"up{{{labels}}}"] = 1
        found[f"als_model_ready{{{labels}}}"] = ready
        found[f"als_model_generation{{{labels}}}"] = generation
        if version and loaded:
            found[f'als_model_info{{{labels}, version="{version}"}}'] = 1
            found[f"als_model_loaded_timestamp_seconds{{{labels}}}"] = loaded
    return {name: f"{value}x5" for name, value in found.items()}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("Ready servers, A", {"{}": 5}),
        ("Ready servers, B", {"{}": 6}),
        ("Served versions, A", {"{}": 2}),
        ("Out of step, A", {"{}": 2}),
        ("Swap skew, A", {'{version="new"}': 30, '{version="old"}': 0}),
        ("Servers by version, A", {'{version="new"}': 3, '{version="old"}': 2}),
    ],
)
def test_a_query_computes_what_its_panel_says(target: str, expected: dict[str, float], tmp_path: Path) -> None:
    """Skew is between servers that swapped while they ran; those out of step are fewer than the others."""
    prove(expanded(TARGETS[target]), series(), expected, tmp_path)
