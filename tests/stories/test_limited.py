"""A model without factors: popular items are served, and requests that need factors are refused."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from service.cli.main import main
from service.errors import MissingComponentsError
from service.model.formats import npz
from service.model.validation.validation import validate
from tests.support.helpers import Place, eventually, metric, put
from tests.support.models import popularity_bytes
from tests.support.serving import Api, make_snapshot, serving


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """Serve that model."""
    async with serving(make_snapshot(validate(npz.read(io.BytesIO(popularity_bytes()))))) as served:
        yield served


def ids(answer: Any) -> list[str]:
    """Return the ids of an answer's items."""
    return [item["item_id"] for item in answer["items"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("/v1/users/ann/recommendations", ["ale", "rum", "gin"]),
        ("/v1/users/ann/recommendations?exclude_seen=false&n=2", ["tea", "ale"]),
        ("/v1/users/bob/recommendations?exclude=gin", ["rum"]),
        ("/v1/users/nobody/recommendations?n=2&offset=1", ["ale", "rum"]),
        ("/v1/items/popular?n=3", ["tea", "ale", "rum"]),
    ],
)
async def test_what_is_popular_is_answered(api: Api, query: str, expected: list[str]) -> None:
    """Everyone gets what most users had, without what they had themselves, and the answer says so."""
    answer = (await api.get(query)).json
    assert ids(answer) == expected
    assert answer.get("strategy", "popular") == "popular"


async def test_someone_new_gets_what_is_popular(api: Api) -> None:
    """There is no fold-in, but the given items are excluded and unknown ones are listed."""
    body = {"items": [{"item_id": "tea"}, {"item_id": "pop"}], "n": 2, "normalize": True}
    answer = (await api.post("/v1/recommendations/anonymous", body)).json
    assert (answer["strategy"], ids(answer), answer["unknown_items"]) == ("popular", ["ale", "rum"], ["pop"])
    assert [item["score"] for item in answer["items"]] == [2 / 3, 1 / 3]


async def test_what_a_user_had_is_known(api: Api) -> None:
    """That needs no factors."""
    assert ids((await api.get("/v1/users/bob/items")).json) == ["ale", "tea"]


@pytest.mark.parametrize(
    "query",
    [
        "/v1/users/ann/similar",
        "/v1/users/ann/scores?items=tea",
        "/v1/users/ann/explanations/tea",
        "/v1/items/tea/similar",
    ],
)
async def test_what_needs_factors_is_refused(api: Api, query: str) -> None:
    """It may be possible later, so the status is 503, with when to try again."""
    answer = await api.get(query)
    assert (answer.status, answer.json["code"], answer.headers["Retry-After"]) == (503, "limited_model", "1")
    assert answer.json["detail"].startswith("Only popular items can be recommended")


async def test_a_limited_model_at_the_path(place: Place) -> None:
    """It is loaded like any other model, is reported as limited everywhere, and a full model replaces it."""
    async with place.started() as store:
        put(place.path, popularity_bytes())
        await eventually(lambda: store.state == "limited")
        assert not store.good.is_set()
        assert metric(store, "als_model_limited") == 1
        assert metric(store, "als_model_factors") == 0


@pytest.mark.parametrize("name", ["user_ids", "item_ids", "seen_indptr", "seen_indices"])
def test_popularity_needs_who_had_what(name: str) -> None:
    """Without it there is nothing to be popular."""
    with pytest.raises(MissingComponentsError, match=f"components: \\['{name}'\\];"):
        validate(npz.read(io.BytesIO(popularity_bytes(**{name: None}))))


def test_factors_of_no_columns_are_no_limited_model() -> None:
    """A model is limited where its file says so, and never by accident."""
    raw = npz.read(io.BytesIO(popularity_bytes(popularity_only=np.False_)))
    with pytest.raises(MissingComponentsError, match="'user_factors', 'item_factors'"):
        validate(raw)


def test_a_limited_model_in_the_terminal(tmp_path: Path) -> None:
    """Both commands say what it is: what is popular, and that this is all."""
    (tmp_path / "m").write_bytes(popularity_bytes())
    shown = [
        CliRunner().invoke(main, [*command, "--model-path", str(tmp_path / "m")], catch_exceptions=False).stdout
        for command in (("check",), ("recommend", "--user", "ann"))
    ]
    assert "none: popularity alone (limited)" in shown[0]
    assert [line.split()[1:] for line in shown[1].splitlines() if line.split()[:1] in (["1"], ["2"], ["3"])] == [
        ["ale", "2.0000"], ["rum", "1.0000"], ["gin", "0.0000"],
    ]  # fmt: skip
