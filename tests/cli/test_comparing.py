"""als-serve check --against: what would change with a new model, and whether a gate would block it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from service.cli.main import main
from service.model.storage.snapshot import FORMAT_VERSION
from tests.support.helpers import model_bytes, version
from tests.support.models import make_factors
from tests.support.running import running_server

CURRENT = dataclasses.replace(make_factors(users=200, items=60), user_ids=np.arange(200), item_ids=np.arange(60))
BETTER = dataclasses.replace(CURRENT, item_factors=CURRENT.item_factors * np.float32(1.01))
SMALL = dataclasses.replace(make_factors(users=20, items=60, seed=3), user_ids=np.arange(20), item_ids=np.arange(60))


@pytest.fixture
def current(tmp_path: Path) -> Path:
    """Return the file of the current model."""
    return written(tmp_path / "current.npz", model_bytes(factors=CURRENT))


def written(path: Path, content: bytes) -> Path:
    """Write a file."""
    path.write_bytes(content)
    return path


def check(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, ["check", *map(str, arguments)])


def rows(output: str) -> dict[str, list[str]]:
    """Return the cells of the printed tables' rows, by the first."""
    cells = [re.split(r"\s{2,}", line.strip()) for line in output.splitlines() if line.startswith(" ")]
    return {name: others for name, *others in cells}


def test_a_model_that_would_be_let_in(tmp_path: Path, current: Path) -> None:
    """Sizes and scores side by side, what each gate finds, and success."""
    new = written(tmp_path / "new.npz", model_bytes(factors=BETTER))
    result = check(new, "--against", current)
    assert result.exit_code == 0, result.output
    found = rows(result.stdout)
    versions = [version(path.read_bytes()) for path in (new, current)]
    assert found["version"] == versions
    assert found["users with factors of their own"] == ["100%", "100%"]
    assert found["counts"] == ["passed", "1", "0.5"]
    assert found["overlap"] == ["passed", "1", "0.4"]
    assert "The top 10 of 200 users have 100% in common, on average" in result.stdout


def test_a_model_that_would_be_blocked(tmp_path: Path, current: Path) -> None:
    """The gate and its reason, the users whose lists change most, an item a line, and failure."""
    new = written(tmp_path / "small.npz", model_bytes(factors=SMALL))
    result = check(new, "--against", current)
    assert result.exit_code == 1
    assert "it has 20 users, less than 50% of the 200 of the served model" in result.stderr
    found = rows(result.stdout)
    assert found["counts"][:3] == ["blocked", "0.1", "0.5"]
    assert found["overlap"][0] == "warned"
    changed = result.stdout[result.stdout.index("Changed most") : result.stdout.index("Gates")]
    shares = [int(share) for share in re.findall(r"^ *\d+ +(\d+)%", changed, re.MULTILINE)]
    assert len(shares) == 10
    assert shares == sorted(shares)
    assert ", " not in changed  # an item a line, so that the table fits a terminal
    assert check(new, "--against", current, "--gate-counts", "warn").exit_code == 0


def test_the_current_model_may_be_a_snapshot(tmp_path: Path, current: Path) -> None:
    """That of a server, which is not changed; for its state directory, the error names the snapshot."""
    with running_server(current, tmp_path / "state") as server:
        server.wait_until_ready()
    kept = tmp_path / "state" / "snapshots" / f"{FORMAT_VERSION}-{version(current.read_bytes())}"
    before = kept.stat().st_mtime_ns
    new = written(tmp_path / "small.npz", model_bytes(factors=SMALL))
    result = check(new, "--against", kept)
    assert result.exit_code == 1
    assert rows(result.stdout)["users"] == ["20", "200"]
    wrong = check(new, "--against", tmp_path / "state")
    assert (wrong.exit_code, f"is a state directory; name one of its snapshots, such as {kept}." in wrong.stderr) == (
        1,
        True,
    )
    assert kept.stat().st_mtime_ns == before


@pytest.mark.parametrize(("line", "exit_code"), [('{"user": 3}', 0), ('{"user": 3000}', 1), ("{", 1)])
def test_golden_requests(tmp_path: Path, current: Path, line: str, exit_code: int) -> None:
    """They need no other model."""
    golden = tmp_path / "golden.jsonl"
    golden.write_text(line)
    result = check(current, "--golden", golden)
    assert result.exit_code == exit_code
    assert rows(result.stdout)["golden"][0] == ("blocked" if exit_code else "passed")


def test_models_without_users_in_common(tmp_path: Path, current: Path) -> None:
    """There is nothing to show of them."""
    others = dataclasses.replace(CURRENT, user_ids=np.arange(1000, 1200))
    result = check(written(tmp_path / "new.npz", model_bytes(factors=others)), "--against", current)
    assert result.exit_code == 0
    assert "no user in common" in result.stdout
    assert rows(result.stdout)["overlap"][0] == "warned"


def test_a_current_model_that_is_not_there(tmp_path: Path, current: Path) -> None:
    """One sentence says so."""
    result = check(current, "--against", tmp_path / "none.npz")
    assert result.exit_code == 1
    assert f"Error: Model file not found: {tmp_path / 'none.npz'}" in result.stderr
