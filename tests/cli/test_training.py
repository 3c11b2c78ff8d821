"""Making and judging models from the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from service.cli.main import main
from tests.support.helpers import version
from tests.support.interactions import write_interactions
from tests.support.models import popularity_bytes
from tests.support.running import running_server

FEW = ("--factors", 4, "--iterations", 3)
METRICS = {"precision", "recall", "ndcg", "map", "coverage"}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file of interactions in the current directory."""
    monkeypatch.chdir(tmp_path)
    return write_interactions(tmp_path / "data.csv")


def als_serve(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def good(*arguments: object) -> Result:
    """Run the command, which has to end well."""
    result = als_serve(*arguments)
    assert result.exit_code == 0, result.output
    return result


def facts_in(lines: list[str]) -> dict[str, str]:
    """Return the rows of the table of what was read."""
    cells = (re.split(r" {2,}", line.strip()) for line in lines if line.startswith("  "))
    return {row[0]: row[1] for row in cells if len(row) == 2}


def test_train(data: Path) -> None:
    """What was read, where the model is and how it was trained is printed; the bars are not in the way of a pipe."""
    lines = good("train", data, "--model-path", "m.npz", *FEW).stdout.splitlines()
    size = Path("m.npz").stat().st_size
    assert lines[0] == f"📚 Read {data}"
    assert facts_in(lines) == {
        "rows": "150",
        "users": "30 (text ids)",
        "items": "20 (number ids)",
        "pairs": "150",
        "columns": "user_id (user), item_id (item)",
        "left out": "nothing",
    }
    assert lines[-1].startswith(f"✅ Wrote m.npz ({size} bytes): 4 factors, 3 iterations, trained in ")


@pytest.mark.parametrize("model_format", ["npz", "pickle"])
def test_check_shows_how_a_model_was_made(data: Path, model_format: str) -> None:
    """In either format the model brings the facts of its training along."""
    good("train", data, "--model-path", "m", "--format", model_format, "--evaluate", "--regularization", 10, *FEW)
    shown = good("check", "--model-path", "m").stdout
    words = " ".join(shown.split())
    assert "learned from data.csv: 150 rows, 0 left out" in words
    assert (
        "regularization 10, alpha 20, popularity discount 0.35, iterations 3, seed 0, activity discount 0.25" in words
    )
    assert "evaluated ndcg@20 0." in words


@pytest.mark.parametrize(("preset", "factors"), [("fast", 128), ("default", 256), ("quality", 1024)])
def test_presets(data: Path, preset: str, factors: int) -> None:
    """A preset sets what is not given; auto is what all of them have, and a number wins."""
    common = ("train", data, "--model-path", "m", "--preset", preset, "--json")
    facts = json.loads(good(*common, "--regularization", "auto", "--iterations", "auto").stdout)
    assert facts["parameters"]["factors"] == factors
    assert facts["parameters"]["regularization"] > 1
    assert json.loads(good(*common, *FEW, "--regularization", 2).stdout)["parameters"] == {
        "factors": 4,
        "regularization": 2,
        "alpha": 20,
        "popularity_discount": 0.35,
        "iterations": 3,
        "seed": 0,
        "activity_discount": 0.25,
    }


def test_neither_a_number_nor_auto(data: Path) -> None:
    """Anything else is refused in a sentence about the option."""
    result = als_serve("train", data, "--model-path", "m", "--regularization", "some")
    assert result.exit_code == 2
    assert "Invalid value for '--regularization': 'some' is not a valid float range, nor auto." in result.stderr


def test_training_onto_the_path_of_a_server_swaps(data: Path, tmp_path: Path) -> None:
    """The server serves the model as soon as it is written, and says how it was made."""
    path = tmp_path / "als_model.pkl"
    good("train", data, "--model-path", path, *FEW)
    with running_server(path, tmp_path / "state") as server:
        server.wait_until_ready()
        good("train", data, "--model-path", path, "--seed", 1, *FEW)
        server.wait_until_serving(version(path.read_bytes()))
        assert server.get("/v1/model")[1]["trained"]["parameters"]["seed"] == 1


def test_the_same_seed_gives_the_same_model(data: Path) -> None:
    """Training again on the same data gives the same factors."""
    for path in ("one", "again"):
        good("train", data, "--model-path", path, *FEW)
    with np.load("one") as one, np.load("again") as again:
        assert np.array_equal(one["item_factors"], again["item_factors"])


def test_facts_as_json(data: Path) -> None:
    """With an evaluation: the numbers of ALS, of popularity, and what they are of."""
    facts = json.loads(good("train", data, "--model-path", "m", "--evaluate", "-k", 5, "--json", *FEW).stdout)
    evaluation = facts["evaluation"]
    assert (evaluation["k"], evaluation["users"], evaluation["pairs"]) == (5, 30, 30)
    assert evaluation["als"].keys() == evaluation["popular"].keys() == METRICS
    assert evaluation["als"]["recall"] > evaluation["popular"]["recall"]
    assert facts["seconds"].keys() == {"read", "evaluate", "train"}


def test_an_evaluation_is_a_table(data: Path) -> None:
    """ALS and popularity, one below the other."""
    lines = good("train", data, "--model-path", "m", "--evaluate", "--loss", *FEW).stdout.splitlines()
    top = next(line for line in lines if line.startswith("🎯"))
    assert top.strip() == "🎯 Top 20 against 30 held-out pairs of 30 users"
    rows = {cells[0]: cells[1:] for line in lines if (cells := line.split())}
    assert rows["ranking"] == ["precision", "recall", "ndcg", "map", "coverage"]
    assert all(0 <= float(value) <= 1 for ranking in ("ALS", "popularity") for value in rows[ranking])


def test_columns_can_be_named(data: Path) -> None:
    """Columns with other names are read as named; bad weights are skipped on request."""
    data.write_text("who;what;how often\n" + "a;x;2\nb;y;3\nb;x;often\n")
    names = ("--user-column", "who", "--item-column", "what", "--weight-column", "how often")
    result = als_serve("train", data, "--model-path", "m", *names, *FEW)
    assert (result.exit_code, "line 4" in result.stderr) == (1, True)
    lines = good("train", data, "--model-path", "m", *names, "--skip-bad-rows", *FEW).stdout.splitlines()
    facts = facts_in(lines)
    assert (facts["rows"], facts["columns"]) == ("2", "who (user), what (item), how often (weight)")
    assert facts["left out"] == "1 rows: no weight, or not a number other than 0"


def test_files_without_a_header(data: Path) -> None:
    """The flags say how the files are written; what was taken and what is worth a warning is printed."""
    data.write_bytes(
        b"1\xa3u\xe9\xa3-\xa37\n2\xa3ben\xa3-\xa38\nx\xa3ben\xa3-\xa3\n3\xa3y\xa3\xa38\n".replace(b"\xa3", b"^")
    )
    flags = ("--columns", "item,user,-,quantity", "--delimiter", "^", "--encoding", "latin-1", "--skip-bad-rows")
    lines = good("train", data, "--model-path", "m", *flags, *FEW).stdout.splitlines()
    facts = facts_in(lines)
    assert (facts["rows"], facts["columns"]) == ("3", "user (user), item (item), quantity (weight)")
    assert f"the first: {data}, line 3: the weight is missing" in "\n".join(lines)
    found = json.loads(good("train", data, "--model-path", "m", *flags, *FEW, "--json").stdout)
    assert found["data"]["skipped_rows"] == 1


def test_remarks_do_not_disturb_json(data: Path) -> None:
    """They go to standard error."""
    data.write_text("user,item,time\na,x,noon\nb,y,1\n")
    result = good("train", data, "--model-path", "m", *FEW, "--json")
    json.loads(result.stdout)
    assert "⚠️" in result.stderr
    assert "the order of times is not used" in result.stderr
    assert "⚠️" in good("train", data, "--model-path", "m", *FEW).stdout


def test_evaluate(data: Path, tmp_path: Path) -> None:
    """A model is judged by a file that it has not seen; users it does not know are counted apart."""
    good("train", data, "--model-path", "m", *FEW)
    test = tmp_path / "test.csv"
    test.write_text("user_id,item_id\n" + "".join(f"user-{user},{item}\n" for user in range(31) for item in range(20)))
    shown = good("evaluate", "--model-path", "m", "--test", test).stdout
    assert [line for line in shown.splitlines() if line[0:1] in {"🎯", "⚠"}] == [
        "🎯 Top 20 against 450 held-out pairs of 30 users",
        "⚠️ The model does not know 1 other users, nor the items of 0 pairs",
    ]
    found: dict[str, Any] = json.loads(good("evaluate", "--model-path", "m", "--test", test, "--json").stdout)
    assert found["als"]["recall"] == 1  # there are but 20 items
    assert found["unknown_users"] == 1


def test_models_are_compared(data: Path) -> None:
    """Each is a table; then it says by how much the others differ from the first, and how certain that is."""
    good("train", data, "--model-path", "poor", "--factors", 1, "--iterations", 1, "--regularization", 1e6)
    good("train", data, "--model-path", "rich", *FEW)
    test = write_interactions(data.with_name("test.csv"), seed=1)
    command = ("evaluate", "--model-path", "poor", "--against", "rich", "--against", "poor", "--test", test, "-k", 5)
    lines = good(*command).stdout.splitlines()
    assert [line for line in lines if line.startswith("📦")] == ["📦 poor", "📦 rich", "📦 poor"]
    recall, ndcg, same, _ = (line for line in lines if line.startswith("⚖️"))
    assert recall.startswith("⚖️ rich is better than poor by 0.")
    assert ndcg.endswith(" in ndcg@5 (30 users)")
    assert same == "⚖️ poor is not certainly worse than poor: it differs by 0.0000 ± 0.0000 in recall@5 (30 users)"
    found = json.loads(good(*command, "--json").stdout)
    assert [one["path"] for one in found["models"]] == ["poor", "rich", "poor"]
    assert [one["metric"] for one in found["differences"][0]] == ["precision", "recall", "ndcg", "map"]
    assert found["differences"][0][1]["difference"] > found["differences"][0][1]["margin"] > 0


def test_a_sample_of_users_is_evaluated(data: Path) -> None:
    """The evaluation says of how many users it has drawn its own."""
    shown = good("train", data, "--model-path", "m", "--evaluate", "--sample", 10, *FEW).stdout
    assert "🎯 Top 20 against 10 held-out pairs of 10 users, drawn at random of 30" in shown


def test_popularity_alone_is_not_evaluated(data: Path) -> None:
    """There is nothing to compare it with."""
    Path("m").write_bytes(popularity_bytes())
    result = als_serve("evaluate", "--model-path", "m", "--test", data)
    assert result.exit_code == 1
    assert "Error: The model has only popularity and no factors, so there is nothing to evaluate." in result.stderr


def test_tune(data: Path) -> None:
    """Trials are shown best first, the best is trained, and the same command again makes no more trials."""
    command = ("tune", data, "--model-path", "m", "--trials", 3, "--max-factors", 8, "--metric", "recall")
    lines = good(*command).stdout.splitlines()
    values = [float(line.split()[1]) for line in lines if line[:5].strip().isdigit()]
    assert len(values) == 3
    assert values == sorted(values, reverse=True)
    assert lines[-1].startswith("✅ Wrote m (")
    assert Path("als_tuning.db").exists()
    told = next(place for place, line in enumerate(lines) if "The table below is of pairs that no trial saw" in line)
    assert lines[told + 1].startswith("🎯 Top 20 against 30 held-out pairs of 30 users")
    facts = json.loads(good(*command, "--json").stdout)
    assert facts["evaluation"]["pairs"] == 30


def test_a_tuning_without_time(data: Path) -> None:
    """Where no trial was finished there is nothing to train with."""
    result = als_serve("tune", data, "--model-path", "m", "--minutes", 1e-9)
    assert result.exit_code == 1
    assert "Error: No trial finished in time; allow more with --minutes." in result.stderr
    assert not Path("m").exists()


def test_models_without_a_common_user_are_not_compared(tmp_path: Path) -> None:
    """Each has its metrics, and that there is no difference to tell is said."""
    for name, users in {"ours": [1, 2], "theirs": [3, 4]}.items():
        factors = np.eye(2, dtype=np.float32)
        np.savez(tmp_path / f"{name}.npz", user_factors=factors, item_factors=factors, user_ids=users, item_ids=[7, 8])
    test = tmp_path / "test.csv"
    test.write_text("user,item\n1,7\n3,8\n")
    ours, theirs = tmp_path / "ours.npz", tmp_path / "theirs.npz"
    shown = good("evaluate", "--model-path", ours, "--against", theirs, "--test", test).stdout
    assert shown.count("🎯") == 2
    assert f"⚖️ {theirs} and {ours} know no user of the test in common" in shown.splitlines()
