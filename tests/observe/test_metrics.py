"""What is counted: the table of metrics.py, what a running server exposes, and that the numbers are right."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from service.errors import ModelRejectedError
from service.model.storage.snapshot import resident_bytes
from service.observe.metrics import Metrics, Row, table
from service.observe.tallies import Distribution, TallyCounter, TallyHistogram
from tests.support import ROOT
from tests.support.helpers import Place, eventually, metric, model_bytes, need, put, until_served
from tests.support.models import make_factors
from tests.support.running import RunningServer, running_server
from tests.support.serving import Api, make_snapshot, serving

REFERENCE = ROOT / "docs" / "metrics.md"
SNAPSHOT = make_snapshot(make_factors())
USER = SNAPSHOT.model.user_ids.at(np.array([0]))[0]
ITEM = SNAPSHOT.model.item_ids.at(np.array([0]))[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Run a real server that has answered a few requests."""
    directory = tmp_path_factory.mktemp("metrics")
    model = directory / "als_model.npz"
    put(model, model_bytes())
    with running_server(model, directory / "state") as running:
        running.wait_until_ready()
        for path in ("/v1/items/popular", "/v1/users/nobody/recommendations", "/nowhere"):
            running.get(path)
        yield running


def exposition(server: RunningServer, accept: str = "text/plain") -> str:
    """Return what a server exposes, in a form."""
    request = urllib.request.Request(server.url + "/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=30) as answer:
        text: str = answer.read().decode()
        return text


def reference_row(row: Row) -> str:
    """Return a row of the reference as it has to be."""
    labels = ", ".join(f"`{label}`" for label in row.labels)
    return f"| `{row.name}` | {row.kind} | {row.unit} | {labels} | {row.help} |"


def test_the_reference_is_the_table() -> None:
    """docs/metrics.md has every metric with type, unit, labels and help, in the order of metrics.py, and no other."""
    documented = re.findall(r"^\| `als_.*$", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE)
    assert documented == [reference_row(row) for row in table().values()]


def test_a_running_server_exposes_the_table(server: RunningServer) -> None:
    """Every metric of the table is there, as it says, and no other of ours."""
    text = exposition(server, "application/openmetrics-text; version=1.0.0")
    families = openmetrics(text)  # type: ignore[no-untyped-call] # the library gives it no type
    exposed = {
        family.name: (family.type, family.documentation, family.unit)
        for family in families
        if family.name.startswith("als_")
    }
    assert exposed == {row.name.removesuffix("_total"): (row.kind, row.help, row.unit) for row in table().values()}


def test_series_have_the_labels_of_the_table(server: RunningServer) -> None:
    """Each metric has at least one series once a server has answered something, with the labels that are promised."""
    labels = {row.name.removesuffix("_total"): set(row.labels) for row in table().values()}
    del labels["als_s3_model_info"], labels["als_candidate_info"]  # nothing came from S3, and there is no candidate
    families = [family for family in text_string_to_metric_families(exposition(server)) if family.name in labels]
    assert {family.name for family in families if family.samples} == labels.keys()
    for family in families:
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == labels[family.name], sample


def test_promtool_finds_nothing_to_complain_of(server: RunningServer) -> None:
    """Names, types, units and help texts are as Prometheus wants them."""
    need(shutil.which("promtool"), "promtool is missing: apt-get install prometheus")
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=exposition(server), capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_what_is_known_beforehand_stands_at_zero() -> None:
    """So that increase() sees the first rejection of each kind, too."""
    registry = CollectorRegistry()
    Metrics(registry)
    for labels in [{"outcome": "swapped", "reason": ""}, {"outcome": "rejected", "reason": ModelRejectedError.code}]:
        assert registry.get_sample_value("als_model_reloads_total", labels) == 0
    assert registry.get_sample_value("als_results_total", {"strategy": "fold_in", "arm": "served"}) == 0


numbers = st.floats(-100, 100) | st.integers(-3, 3).map(float)


@given(st.lists(st.tuples(st.sampled_from("ab"), numbers)))
def test_a_tally_exposes_what_the_library_would(observed: list[tuple[str, float]]) -> None:
    """A histogram of ours and the library's say the same of the same numbers, on the bounds too."""
    texts = []
    for kind in (Histogram, TallyHistogram):
        registry = CollectorRegistry()
        histogram: Any = kind("h_bytes", "A help.", ["x"], unit="bytes", registry=registry, buckets=(0, 1, 2.5, 50))
        for label, number in observed:
            histogram.labels(label).observe(number)
        texts.append(generate_latest(registry).decode())
    assert texts[0] == texts[1]


@pytest.mark.parametrize("kind", [TallyCounter, TallyHistogram])
def test_a_name_is_taken_once(kind: Any) -> None:
    """A second metric of a name is refused, as it is of the library's own metrics."""
    options = {"unit": "", "registry": CollectorRegistry()} | ({"buckets": (1,)} if kind is TallyHistogram else {})
    kind("a_name", "A help.", ["x"], **options)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        kind("a_name", "A help.", ["x"], **options)


@pytest.mark.parametrize("name", ["als_http_requests_total", "als_http_request_duration_seconds_count"])
async def test_one_metric_can_be_asked_for(name: str) -> None:
    """Every metric of the table can, also those that requests count; and nothing else comes with it."""
    async with serving(SNAPSHOT) as api:
        await api.get("/healthz")
        answer = await api.get(f"/metrics?name[]={name}")
    lines = [line for line in answer.body.decode().splitlines() if not line.startswith("#")]
    assert lines == [f'{name}{{arm="served",method="GET",route="/healthz",status="200"}} 1.0']


def test_no_count_is_lost_between_threads() -> None:
    """Long queries count in threads of their own, and every one counts."""
    counter = TallyCounter("c_total", "A help.", ["x"], unit="", registry=CollectorRegistry())
    distribution = Distribution([1.0, 2.0], [0.0] * 4)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def count_all(_: int) -> None:
        for _ in range(20_000):
            counter.labels("y").inc()
            distribution.observe(1.5)

    try:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(count_all, range(4)))
    finally:
        sys.setswitchinterval(interval)
    assert (counter.labels("y").numbers, distribution.numbers) == ([80_000], [0, 80_000, 0, 120_000])


async def test_results_are_counted_by_strategy() -> None:
    """Each list of recommendations counts once, alone or in a batch, with its top score and the items scanned."""
    async with serving(SNAPSHOT) as api:
        top = (await api.get(f"/v1/users/{USER}/recommendations")).json["items"][0]["score"]
        await api.post("/v1/recommendations", {"users": [USER, "nobody", "no one"]})
        await api.post("/v1/recommendations/anonymous", {"items": [{"item_id": ITEM}], "n": 1})
        await api.get(f"/v1/users/{USER}/recommendations?exclude_seen=false&offset=1000")
        await api.get("/v1/users/nobody/recommendations?fallback=none")

        def sample(name: str, strategy: str) -> float | None:
            return api.metrics.registry.get_sample_value(name, {"strategy": strategy, "arm": "served"})

        counted = {strategy: sample("als_results_total", strategy) for strategy in ("als", "fold_in", "popular")}
        assert counted == {"als": 3, "fold_in": 1, "popular": 2}
        assert sample("als_result_top_score_count", "als") == 2
        assert sample("als_result_top_score_sum", "als") == pytest.approx(2 * top)
        assert sample("als_result_scanned_items_count", "als") == 3
        assert sample("als_result_scanned_items_sum", "fold_in") == len(SNAPSHOT.model.item_ids)
        assert sample("als_result_top_score_count", "popular") is None


async def test_earlier_snapshots_are_counted_while_a_request_has_them(place: Place) -> None:
    """A snapshot that a long query still answers from is seen, until its memory is free; and so is every swap."""
    async with place.serving(model_bytes(1)) as store:
        assert (metric(store, "als_model_generation"), metric(store, "als_model_snapshots_held")) == (1, 0)
        taken = store.current
        await until_served(store, put(place.path, model_bytes(2)))
        assert (metric(store, "als_model_generation"), metric(store, "als_model_snapshots_held")) == (2, 1)
        assert taken is not store.current
        del taken
        await eventually(lambda: metric(store, "als_model_snapshots_held") == 0)


async def test_a_warm_snapshot_is_resident(place: Place) -> None:
    """After a swap all of it is in memory, and the metric says so at every scrape."""
    async with place.serving(model_bytes()) as store:
        assert store.current is not None
        arrays = resident_bytes(store.current)
        headers = sum(facts.bytes for facts in store.current.manifest.files.values()) - arrays
        assert 0 < headers <= 128 * len(store.current.manifest.files)
        async with serving(store.current) as api:
            assert resident(await _scraped(api)) == arrays


async def test_without_a_model_nothing_is_resident() -> None:
    """A server that waits for its model exposes its metrics, too."""
    async with serving(None) as api:
        assert resident(await _scraped(api)) == 0


async def _scraped(api: Api) -> str:
    answer = await api.get("/metrics")
    assert answer.status == 200
    return answer.body.decode()


def resident(text: str) -> float:
    """Return als_model_resident_bytes."""
    found = re.search(r"^als_model_resident_bytes (\S+)$", text, re.MULTILINE)
    assert found
    return float(found[1])
