"""als-serve publish compares a model with the followed one, and refuses a worse one unless forced."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from service.s3.location import LATEST
from tests.support.bucket import Models
from tests.support.helpers import model_bytes, version
from tests.support.models import make_factors
from tests.support.shops import Shop, failed

FULL = dataclasses.replace(
    make_factors(users=100, items=50, pairs=None), user_ids=np.arange(100), item_ids=np.arange(50)
)
BETTER = dataclasses.replace(FULL, item_factors=FULL.item_factors * np.float32(1.01))
CUT = dataclasses.replace(FULL, user_ids=FULL.user_ids[:1], user_factors=FULL.user_factors[:1])
REVERSED = dataclasses.replace(FULL, item_factors=-FULL.item_factors)

NO_WARNINGS = ("--gate-overlap", "off", "--gate-scores", "off")


def written(shop: Shop, factors: object, name: str = "m.npz") -> Path:
    """Write a model file."""
    path = shop.directory / name
    path.write_bytes(model_bytes(factors=factors))  # type: ignore[arg-type] # any of the above
    return path


@pytest.fixture
def followed(shop: Shop) -> str:
    """Publish a good model, and return its version."""
    path = written(shop, FULL)
    assert shop.run("publish", path, shop.uri).exit_code == 0
    return version(path.read_bytes())


def pointed(shop: Shop) -> str:
    """Return the version that servers follow."""
    return shop.asked(Models.latest).sha256[:16]


def test_a_model_that_a_gate_blocks_is_not_published(shop: Shop, followed: str) -> None:
    """Nothing is uploaded, and the pointer stays."""
    names = shop.names
    path = written(shop, CUT)
    sentence = failed(shop.run("publish", path, shop.uri, *NO_WARNINGS))
    assert sentence == (
        f"{path} is not published: it has 1 users, less than 50% of the 100 of the served model. "
        "If that is right, add --force."
    )
    assert (shop.names, pointed(shop)) == (names, followed)


def test_a_gate_that_warns_lets_it_through(shop: Shop, followed: str) -> None:
    """With a line on standard error; one that is off says nothing."""
    path = written(shop, CUT)
    result = shop.run("publish", path, shop.uri, "--gate-counts", "warn")
    assert result.exit_code == 0
    assert "⚠️ Next to the followed model, it has 1 users" in result.stderr
    assert pointed(shop) == version(path.read_bytes())
    back = shop.run("publish", written(shop, FULL), shop.uri, *NO_WARNINGS)
    assert (back.exit_code, back.stderr) == (0, "")


def test_force_is_recorded(shop: Shop, followed: str) -> None:
    """In the pointer, in the table of versions, and in a promotion later."""
    path = written(shop, CUT)
    result = shop.run("publish", path, shop.uri, "--force")
    assert result.exit_code == 0
    assert "⚠️ Published by force: it has 1 users" in result.stderr
    assert shop.asked(Models.latest).forced == ["counts"]
    assert "forced past counts" in shop.run("versions", shop.uri).stdout
    newest, _ = json.loads(shop.run("versions", shop.uri, "--json").stdout)
    assert newest["pointer"]["forced"] == ["counts"]
    assert shop.run("publish", written(shop, FULL), shop.uri).exit_code == 0
    assert shop.asked(Models.latest).forced == []
    assert shop.run("promote", str(shop.prefix.at(newest["key"]))).exit_code == 0
    assert shop.asked(Models.latest).forced == ["counts"]


def test_a_model_that_needs_no_force_is_not_forced(shop: Shop, followed: str) -> None:
    """The flag alone is not recorded."""
    assert shop.run("publish", written(shop, BETTER), shop.uri, "--force").exit_code == 0
    assert shop.asked(Models.latest).forced == []


def held_out(shop: Shop) -> Path:
    """Write interactions of every user with what the full model recommends first."""
    best = np.argmax(FULL.user_factors @ FULL.item_factors.T, axis=1)
    path = shop.directory / "test.csv"
    path.write_text("user,item\n" + "".join(f"{user},{item}\n" for user, item in enumerate(best)))
    return path


def test_a_model_that_is_worse_on_the_test(shop: Shop, followed: str) -> None:
    """By more than is allowed: it is not published. Each metric that is named counts."""
    path, test = written(shop, REVERSED), held_out(shop)
    options = (*NO_WARNINGS, "--test", test)
    sentence = failed(shop.run("publish", path, shop.uri, *options, "--max-drop", "ndcg=5%"))
    assert f"its ndcg on {test} is 100.0% lower, and 5.0% are allowed" in sentence
    assert pointed(shop) == followed
    sentence = failed(
        shop.run("publish", path, shop.uri, *options, "--max-drop", "recall=5.5%", "--max-drop", "map=1%")
    )
    assert "its recall" in sentence
    assert "its map" in sentence
    assert shop.run("publish", path, shop.uri, *options, "--max-drop", "ndcg=100%").exit_code == 0
    assert shop.asked(Models.latest).forced == []


def test_a_model_that_is_as_good_on_the_test(shop: Shop, followed: str) -> None:
    """It is published."""
    path = written(shop, BETTER)
    result = shop.run("publish", path, shop.uri, "--test", held_out(shop), "--max-drop", "ndcg=0%")
    assert result.exit_code == 0, result.stderr
    assert pointed(shop) == version(path.read_bytes())


def test_worse_on_the_test_but_forced(shop: Shop, followed: str) -> None:
    """The metric is recorded."""
    options = (*NO_WARNINGS, "--test", held_out(shop), "--max-drop", "ndcg=5%")
    assert shop.run("publish", written(shop, REVERSED), shop.uri, *options, "--force").exit_code == 0
    assert shop.asked(Models.latest).forced == ["ndcg"]


@pytest.mark.parametrize("content", [b"not a model", None], ids=["bad", "missing"])
def test_a_followed_model_that_is_broken_is_replaced(shop: Shop, followed: str, content: bytes | None) -> None:
    """A new model is the remedy, so it is published without a comparison, which is said."""
    latest = shop.asked(Models.latest)
    name = latest.key.removeprefix(shop.prefix.key)
    if content is None:
        shop.asked(lambda models: models.delete(name))
    else:
        shop.asked(lambda models: models.put(name, content))
    path = written(shop, CUT)
    result = shop.run("publish", path, shop.uri)
    assert result.exit_code == 0, result.stderr
    assert "⚠️ Not compared with the followed model: " in result.stderr
    assert pointed(shop) == version(path.read_bytes())


def test_a_followed_model_that_is_too_large_is_not_downloaded(shop: Shop, followed: str) -> None:
    """The comparison takes no more disk than a model may have."""
    size = 3 * 2**20
    large = dataclasses.replace(FULL, user_factors=np.zeros((100, 4), np.float32))
    shop.asked(lambda models: models.put("als_model_29991231_235959.npz", bytes(size)))
    shop.asked(lambda models: models.delete(LATEST))
    result = shop.run("publish", written(shop, large), shop.uri, "--max-model-mb", 1, "--gate-factors", "off")
    assert "has more than 1 MB" in result.stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--test", "t.csv"), "--test and --max-drop only work together"),
        (("--max-drop", "ndcg=5%"), "--test and --max-drop only work together"),
        (("--max-drop", "ndcg=5"), "'ndcg=5' is not one of precision, recall, ndcg, map"),
        (("--max-drop", "quality=5%"), "'quality=5%' is not one of precision"),
    ],
)
def test_options_that_make_no_sense(shop: Shop, options: tuple[str, ...], sentence: str) -> None:
    """One sentence says why, before anything is done."""
    result = shop.run("publish", written(shop, FULL), shop.uri, *options)
    assert result.exit_code in (1, 2)
    assert sentence in result.stderr
    assert shop.names == []
