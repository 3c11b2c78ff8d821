"""Checking and serving models as people have them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from service.cli.main import main
from tests.support.pickles import make_model, pickled
from tests.support.running import running_server

SENTENCE = (
    "⚠️ The model file has no seen items, and its ids are row numbers: users are recommended what they already had, "
    "and nothing is popular"
)
MAPS = {"user_mapping": {0: "ann", 1: "bob", 2: "cid"}, "item_mapping": {row: row + 10 for row in range(4)}}
KEYS = "model=recommender,user_id_map=user_mapping,product_id_map=item_mapping"


def als_serve(*arguments: object, **variables: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env=variables)


@pytest.fixture
def other_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a pickled dict with other keys, in the current directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.pkl").write_bytes(pickle.dumps({"recommender": make_model(), **MAPS}))
    return tmp_path / "other.pkl"


def test_a_file_as_an_argument(other_names: Path) -> None:
    """It is checked in place of the one at the model path, even if that is set."""
    other_names.with_name("m.pkl").write_bytes(pickled())
    result = als_serve("check", "m.pkl", ALS_MODEL_PATH="none.pkl")
    assert (result.exit_code, "Model path: " + str(other_names.with_name("m.pkl")) in result.stdout) == (0, True)
    assert SENTENCE not in result.stdout


@pytest.mark.parametrize("form", ["npz", "pickle"])
def test_a_model_alone_is_warned_of(tmp_path: Path, form: str) -> None:
    """One line says what a model without ids and seen items cannot do, at a check and at a start."""
    path, model = tmp_path / "m", make_model()
    if form == "npz":
        model.save(tmp_path / "m.npz")
        path = tmp_path / "m.npz"
    else:
        path.write_bytes(pickle.dumps(model))
    result = als_serve("check", path, "--state-dir", tmp_path / "state")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines().count(SENTENCE) == 1
    with running_server(path, tmp_path / "state") as server:
        server.wait_until_ready()
        server.wait_for("row_numbers")
        assert server.get("/v1/users/2/recommendations?n=1")[0] == 200


def test_ids_that_start_elsewhere_are_not_row_numbers(tmp_path: Path) -> None:
    """A model with ids is not warned of, even without seen items."""
    path = tmp_path / "m.npz"
    ones: dict[str, Any] = {"user_factors": np.ones((2, 2), np.float32), "item_factors": np.ones((3, 2), np.float32)}
    np.savez(path, **ones, user_ids=np.array([0, 1]), item_ids=np.array([2, 0, 5]))
    assert SENTENCE not in als_serve("check", path, "--state-dir", tmp_path / "state").stdout
    np.savez(path, **ones, user_ids=np.array([0, 1]), item_ids=np.array([2, 0, 1]))
    assert SENTENCE in als_serve("check", path, "--state-dir", tmp_path / "state").stdout


def test_keys_by_flags_and_by_the_variable(other_names: Path) -> None:
    """Either names the keys; without, the refusal says what to write."""
    refusal = als_serve("check", other_names)
    assert refusal.exit_code == 1
    assert f"ALS_PICKLE_KEYS={KEYS})" in refusal.stderr
    flags = [part for pair in KEYS.split(",") for part in ("--key", pair)]
    for result in (
        als_serve("check", other_names, *flags),
        als_serve("check", other_names, "--pickle-keys", KEYS),
        als_serve("check", other_names, ALS_PICKLE_KEYS=KEYS),
    ):
        assert result.exit_code == 0, result.output
        assert "3 (text ids)" in result.stdout
    assert "KEY=YOURS" in als_serve("check", other_names, "--key", "users=a").stderr


@pytest.mark.parametrize("command", ["check", "recommend", "evaluate", "publish", "pull", "serve"])
def test_every_command_that_imports_a_model_takes_keys(command: str) -> None:
    """None of them refuses a dict that a server reads."""
    assert "--key" in als_serve(command, "--help").stdout


def test_keys_at_a_server(other_names: Path, tmp_path: Path) -> None:
    """A server reads the dict so, and another naming of the same file gives another model."""
    with running_server(other_names, tmp_path / "state", pickle_keys=KEYS) as server:
        server.wait_until_ready()
        assert server.get("/v1/users/ann/recommendations?n=1")[1]["items"][0]["item_id"] in range(10, 14)
    exchanged = KEYS.replace("=item_mapping", "=more")
    content = pickle.loads(other_names.read_bytes())
    other_names.write_bytes(pickle.dumps({**content, "more": [20, 21, 22, 23]}))
    for keys, first in ((KEYS, 10), (exchanged, 20), (KEYS, 10)):
        with running_server(other_names, tmp_path / "state", pickle_keys=keys) as server:
            server.wait_for("initialized")
            assert server.get("/v1/users/ann/recommendations?n=1")[1]["items"][0]["item_id"] in range(first, first + 4)


ITEMS = (
    "item_id,title,price,genres,added,new,sku,secret\n10,One,9.5,a|b,2024-01-31,yes,007,x\n"
    "11,,12,b,2024-03-01 12:00,no,8,y\n,none,1,,,,,\n99,Two,,,,,,\n99,Two,,,,,,\n"
)


def test_items_are_checked_with_the_model(other_names: Path) -> None:
    """Rows, types, examples and what is missing are shown, and how many of the model's items are listed."""
    items = other_names.with_name("items.csv")
    items.write_text(ITEMS)
    result = als_serve("check", other_names, "--pickle-keys", KEYS, "--items", items, "--item-column", "secret=-")
    assert result.exit_code == 0, result.output
    shown = [" ".join(line.split()) for line in result.stdout.splitlines()]
    for line in (
        f"✅ {items} is a catalog of 3 items",
        "rows left out, because they have no id: 1",
        "rows that do not count, because a later one has the same id: 1",
        "items with a title: 2",
        "items of the model that are listed: 2 of 4",
        "items that are not in the model: 1",
        "price number 1 9.5 to 12",
        "genres list of texts 1 b, a",
        "added date 1 2024-01-31 to 2024-03-01T12:00:00Z",
        "new bool 1 1 true, 1 false",
        "sku text 1 007, 8",
    ):
        assert line in shown
    assert "secret" not in result.stdout


def test_items_are_checked_without_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shop may have a catalog before it has a model; a bad file is one sentence and exit 1."""
    monkeypatch.chdir(tmp_path)
    items = tmp_path / "items.csv"
    long = f'2,,"{"x" * 50}"\n'
    items.write_text("id,available,about\n0,,a\n1,no,b\n" + long + "3,,c\n4,,d\n")
    result = als_serve("check", "--items", "items.csv")
    assert result.exit_code == 0, result.output
    assert "items that are not available: 1" in result.stdout
    assert "a, b, c and 2 more" in result.stdout
    items.write_text("id,about\n" + long.replace(",,", ","))
    assert f"{'x' * 30}…" in als_serve("check", "--items", "items.csv").stdout
    items.write_text("a,b\n1,2\n")
    refused = als_serve("check", "--items", "items.csv")
    assert (refused.exit_code, "it lacks a column of ids" in refused.stderr) == (1, True)
    missing = als_serve("check", "--items", "none.csv")
    assert (missing.exit_code, "There is no file at none.csv." in missing.stderr) == (1, True)
    wrong = als_serve("check", "--items", "items.csv", "--item-columns", "a=key")
    assert "it must be COLUMN=MEANING" in wrong.stderr
