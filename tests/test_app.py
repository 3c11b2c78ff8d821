"""The background work that each setting adds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from service.api.tokens import Access
from service.app import create_keeping, create_live
from service.errors import SettingsError
from service.live.commands import Look
from service.live.s3_follower import S3Follower
from service.observe.metrics import Metrics
from service.settings import Settings

ALWAYS = {
    "Keeping the model current",
    "Watching the model file",
    "Watching for accepted models",
    "Watching new models' answers",
}
CANDIDATE = {"Keeping the candidate current", "Watching the candidate"}
HERE = Path(__file__)


def works_of(tmp_path: Path, **changes: Any) -> set[str]:
    """Return the names of what a server with these settings does in the background."""
    settings = Settings(model_path=tmp_path / "m.npz", state_dir=tmp_path / "s", **changes)
    metrics = Metrics(CollectorRegistry())
    access = Access((), metrics) if settings.tokens_file else None
    return set(create_keeping(settings, metrics, access).works)


@pytest.mark.parametrize(
    ("changes", "works"),
    [
        ({}, set[str]()),
        ({"s3_uri": "s3://bucket/model.npz"}, {"Following S3"}),
        ({"s3_uri": "s3://bucket/models/"}, {"Following S3", "Following the candidate in S3", *CANDIDATE}),
        ({"candidate_path": HERE}, CANDIDATE),
        (
            {"items": HERE, "items_s3_uri": "s3://bucket/i.csv"},
            {"Keeping ALS_ITEMS current", "Watching ALS_ITEMS", "Following the items in S3"},
        ),
        ({"training_data": HERE}, {"Training a fallback model"}),
        ({"items": HERE}, {"Keeping ALS_ITEMS current", "Watching ALS_ITEMS"}),
        ({"unavailable": HERE}, {"Keeping ALS_UNAVAILABLE current", "Watching ALS_UNAVAILABLE"}),
        ({"hidden_users": HERE}, {"Keeping ALS_HIDDEN_USERS current", "Watching ALS_HIDDEN_USERS"}),
        ({"tokens_file": HERE}, {"Keeping the tokens current", "Watching the file of tokens"}),
    ],
    ids=[
        "none",
        "S3",
        "S3 with a candidate",
        "candidate",
        "items in S3",
        "training",
        "items",
        "unavailable",
        "hidden users",
        "tokens",
    ],
)
async def test_a_setting_adds_its_work(tmp_path: Path, changes: dict[str, Any], works: set[str]) -> None:
    """Nothing is watched, polled or trained that no setting asks for."""
    assert works_of(tmp_path, **changes) == ALWAYS | works


async def test_an_invalid_place_in_s3_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """By a sentence, not by a follower that fails for good."""
    with pytest.raises(SettingsError):
        works_of(tmp_path, s3_uri="https://bucket/models/")
    with pytest.raises(SettingsError, match=r"a prefix; name one object, such as s3://bucket/items/items\.csv"):
        works_of(tmp_path, items=tmp_path / "i.csv", items_s3_uri="s3://bucket/items/")
    with pytest.raises(SettingsError, match="but ALS_ITEMS is not"):
        works_of(tmp_path, items_s3_uri="s3://bucket/items.csv")


async def test_a_reload_looks_at_all_that_comes_from_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model, the candidate and the items, each without waiting for its next poll."""
    asked: list[S3Follower] = []

    def request(follower: S3Follower) -> None:
        asked.append(follower)

    monkeypatch.setattr(S3Follower, "request", request)
    settings = Settings(
        model_path=tmp_path / "m.npz",
        state_dir=tmp_path / "s",
        s3_uri="s3://bucket/models/",
        items=tmp_path / "i.csv",
        items_s3_uri="s3://bucket/i.csv",
    )
    await create_keeping(settings, Metrics(CollectorRegistry())).administer(Look())
    assert {each.following.uri for each in asked} == {"s3://bucket/models/", "s3://bucket/i.csv"}
    assert len(asked) == 3


def test_a_live_model_needs_no_files(tmp_path: Path) -> None:
    """Building the parts reads and writes nothing."""
    create_live(Settings(model_path=tmp_path / "m.npz", state_dir=tmp_path / "s"), Metrics(CollectorRegistry()))
    assert list(tmp_path.iterdir()) == []
