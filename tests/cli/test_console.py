"""The console of the original workflow: operators and their scripts know these lines, so every byte of them stays."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from service.cli.main import main
from service.environment import child_environment
from service.live import report
from service.live.fallback_training import FallbackTrainer
from tests.support.helpers import Place, at_work, events, eventually, metrics_of, put
from tests.support.interactions import write_interactions

FOUND = """\
🚀 Initializing ML model...
✅ ALS model {format} file found: {path} ({bytes} bytes)
📚 Loading pre-trained model (skipping training)
📚 Loading ALS model from: {path}
✅ Model file verified: {path} ({bytes} bytes)
"""
LOADED = """\
✅ Loaded ALS model successfully
📊 Model info: 3 users, 4 products
📊 Model factors: 2 dimensions
🔍 Analyzing ALS score ranges...
✅ ALS score range analysis completed
📈 individual scores: 0 to 3, mean 0.9533, p1 0, p99 3
📈 recommendation scores: 0 to 3, mean 0.9, p1 0, p99 2.91
📈 popularity scores: 0 to 1, mean 0.5, p1 0, p99 1
✅ ML model initialization completed successfully (loaded existing model)
"""
REJECTED = """\
❌ The file is text and not a model; a model is a pickled dict or an npz archive.
💡 The model file may be corrupted or incompatible
"""
MISSING = """\
🚀 Initializing ML model...
❌ Model file not found: {path}
💡 In EC2 environment, ensure the model is downloaded from S3 before starting the application
"""
TRAINED = (
    r"🔄 Training new ALS model\.\.\.\n"
    r"(?:.*\n)*✅ Trained an ALS model in \d+\.\d s and saved it to: {path}\n"
    r"(?:.*\n)*✅ ML model initialization completed successfully \(trained new model\)\n"
)
TESTED = """\
🧪 Testing ALS Model Loading
========================================
📁 Model path: {absolute}
📁 Current directory: {directory}
"""
EXISTS = """\
✅ Model file exists: {absolute} ({bytes} bytes)
✅ Model file verification passed
"""
TABLES = """\
💤 Nothing is kept of this model in state
Score ranges

 scores         min max mean   std   p1 p50 p99
 ───────────────────────────────────────────────
 individual     0   3   0.9533 1.019 0  1   3
 recommendation 0   3   0.9    1.044 0  0.5 2.91
 popularity     0   1   0.5    0.5   0  0.5 1

The model

  version          {version}
  format           npz
  users            3 (text ids)
  items            4 (text ids)
  factors          2
  seen             2 pairs
  on disk          … bytes
  a top 10 takes   … µs

✅ Model loading test completed successfully!
"""


def model_file() -> bytes:
    """Return a model whose scores are small whole numbers, the same on every machine."""
    file = io.BytesIO()
    np.savez(
        file,
        user_factors=np.array([[1, 0], [0, 2], [1, 1]], np.float32),
        item_factors=np.array([[1, 0], [0, 1], [2, 1], [0, 0]], np.float32),
        user_ids=np.array(["ann", "bob", "cid"]),
        item_ids=np.array(["tea", "ale", "rum", "gin"]),
        seen_indptr=np.array([0, 1, 2, 2]),
        seen_indices=np.array([0, 1]),
    )
    return file.getvalue()


def console(caplog: pytest.LogCaptureFixture) -> str:
    """Return what was logged so far, as the console shows it."""
    return "".join(f"{message}\n" for message in caplog.messages)


async def test_a_good_file_is_loaded(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """From the first look at the file to the end of the initialization."""
    caplog.set_level("INFO", "als_serve")
    async with place.serving(model_file()):
        await eventually(lambda: "initialized" in events(caplog))
    facts = {"format": "npz", "path": place.path, "bytes": len(model_file())}
    assert console(caplog).startswith((FOUND + LOADED).format(**facts))


async def test_a_bad_file_is_rejected(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """The reason, and a hint."""
    caplog.set_level("INFO", "als_serve")
    put(place.path, b"no model")
    async with place.started():
        await eventually(lambda: "corrupt_hint" in events(caplog))
    facts = {"format": "unrecognized", "path": place.path, "bytes": 8}
    assert console(caplog).startswith((FOUND + REJECTED).format(**facts))


@pytest.mark.parametrize(
    ("container", "vendor", "hint"),
    [(True, "QEMU", True), (False, "Amazon EC2\n", True), (False, "LENOVO\n", False), (False, None, False)],
    ids=["container", "EC2", "laptop", "no firmware"],
)
async def test_a_missing_file_is_missed(
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    container: bool,
    vendor: str | None,
    hint: bool,
) -> None:
    """Where it should be, and what to do: the hint about EC2 appears in containers and on EC2 alone."""
    caplog.set_level("INFO", "als_serve")
    sign, firmware = tmp_path / ".dockerenv", tmp_path / "sys_vendor"
    if container:
        sign.touch()
    if vendor:
        firmware.write_text(vendor)
    monkeypatch.setattr(report, "_IN_CONTAINERS", (sign,))
    monkeypatch.setattr(report, "_VENDOR", firmware)
    async with place.started():
        await eventually(lambda: "waiting" in events(caplog))
    lines = MISSING if hint else "".join(MISSING.splitlines(keepends=True)[:-1])
    assert console(caplog).startswith(lines.format(path=place.path) + "⏳ No model yet")


async def test_a_model_is_trained(place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """From the start of the training to the end of the initialization."""
    caplog.set_level("INFO", "als_serve")
    data = write_interactions(tmp_path / "data.csv")
    async with place.started() as store:
        trainer = FallbackTrainer(store.live, data, tmp_path / "state", child_environment(), metrics_of(store))
        async with at_work(trainer.run()):
            await eventually(lambda: "initialized_trained" in events(caplog), 30)
    assert re.search(TRAINED.format(path=re.escape(str(place.path))), console(caplog))


def check(directory: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Run ``als-serve check --deep`` on m.npz in a directory; return its exit code and what it printed."""
    monkeypatch.chdir(directory)
    result = CliRunner().invoke(main, ["check", "--deep", "--model-path", "m.npz", "--state-dir", "state"])
    return result.exit_code, result.output


def test_check_of_a_good_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of what it prints, but for trailing blanks and what is measured."""
    content = model_file()
    (tmp_path / "m.npz").write_bytes(content)
    exit_code, output = check(tmp_path, monkeypatch)
    version = re.search(r"version +([0-9a-f]{16})", output)
    assert version, output
    printed = re.sub(r" +$", "", output, flags=re.MULTILINE)
    printed = re.sub(r"(?<=on disk          )\d+|(?<=a top 10 takes   )\d+", "…", printed)
    facts = {"absolute": tmp_path / "m.npz", "directory": tmp_path, "path": "m.npz", "format": "npz"}
    initialization = (FOUND + LOADED).partition("\n")[2]
    expected = TESTED + EXISTS + "🚀 Testing model initialization...\n" + initialization + TABLES
    assert printed == expected.format(**facts, bytes=len(content), version=version[1])
    assert exit_code == 0


def test_check_of_a_missing_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence is the last line."""
    expected = TESTED + "Error: Model file not found: {absolute}\n"
    facts = {"absolute": tmp_path / "m.npz", "directory": tmp_path}
    assert check(tmp_path, monkeypatch) == (1, expected.format(**facts))
