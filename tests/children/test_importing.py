"""What the child does with a job, here without its process: a snapshot, or an exact reason."""

from __future__ import annotations

import io
import os
import resource
from pathlib import Path

import msgspec
import numpy as np
import pytest

from service.children import importing
from service.children.importing import answer
from service.children.jobs import Job, Outcome
from service.errors import CorruptFileError
from service.model.storage import snapshot
from service.model.storage.source import identify
from tests.support.helpers import model_bytes
from tests.support.hostile.opcodes import ALS, array, dtype, group, number, pairs, raw, whole
from tests.support.models import make_factors

FACTORS = array(dtype("f4"), group(number(1), number(2)), raw(bytes(8)))
GOOD_MODEL = {"model": ALS + b")\x81" + pairs({"user_factors": FACTORS, "item_factors": FACTORS}) + b"b"}

pytestmark = pytest.mark.usefixtures("children_are_measured")


@pytest.fixture(autouse=True)
def staged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory, which a job writes to."""
    staged = tmp_path / "state" / "staged"
    staged.mkdir(parents=True)
    monkeypatch.chdir(staged)
    return staged


def job_for(path: Path, content: bytes) -> Job:
    """Return the job to import a file of this content."""
    path.write_bytes(content)
    return Job(identify(path), os.open(path, os.O_RDONLY), -1, str(path.parent / "state"), 2**30, None, 60)


@pytest.mark.parametrize("ids", ["int", "str"])
def test_a_good_file_becomes_a_snapshot(tmp_path: Path, staged: Path, ids: str) -> None:
    """Every number and id arrives, the score ranges and costs are measured, every phase is timed."""
    factors = make_factors(ids="str" if ids == "str" else "int")
    job = job_for(tmp_path / "m", model_bytes(factors=factors))
    assert answer(job) == Outcome()
    opened = snapshot.open_snapshot(staged)
    manifest = opened.manifest
    assert (manifest.source, manifest.source_format) == (job.source, "npz")
    assert (manifest.users, manifest.items, manifest.factors) == (40, 60, 4)
    assert manifest.costs.recommend_10 > 0
    assert manifest.scores.popularity
    assert list(manifest.seconds) == ["read", "validate", "arrange", "analyse", "write"]
    for row, user in enumerate(factors.user_ids[:5]):
        wanted = user.decode() if ids == "str" else int(user)
        place = opened.model.user_ids.row(wanted)
        assert place is not None
        np.testing.assert_array_equal(opened.model.user_factors[place], factors.user_factors[row])


def test_a_rejection_is_answered_with_its_code(tmp_path: Path, staged: Path) -> None:
    """The code and the sentence, and nothing is written."""
    packed = io.BytesIO()
    np.savez(packed, user_factors=np.full((2, 2), np.nan, "f"), item_factors=np.ones((2, 2), "f"))
    job = job_for(tmp_path / "m", packed.getvalue())
    outcome = answer(job)
    assert outcome.code == "not_finite"
    assert "row 0" in outcome.detail
    assert not list(staged.iterdir())


def test_a_file_that_changed_since_is_not_read(tmp_path: Path) -> None:
    """What is imported is what was hashed."""
    job = job_for(tmp_path / "m", model_bytes(1))
    (tmp_path / "m").write_bytes(model_bytes(2))
    assert answer(job).code == "file_changed"


def test_the_memory_limit_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory in any phase: the sentence says how much was allowed, and which setting allows more."""

    def exhausted(_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(importing, "arrange", exhausted)
    job = job_for(tmp_path / "m", model_bytes())
    assert answer(job) == Outcome(
        "import_memory",
        f"{tmp_path / 'm'} needs more than 1024 MB of address space to import; "
        "raise ALS_IMPORT_MEMORY_MB if you trust the file.",
    )


def test_a_state_directory_that_cannot_be_written_is_a_reason(tmp_path: Path, staged: Path) -> None:
    """The sentence names the state directory, not the staged one."""
    job = job_for(tmp_path / "m", model_bytes())
    staged.rmdir()
    outcome = answer(job)
    assert outcome.code == "state_directory"
    assert f"The state directory {tmp_path / 'state'} cannot be used: No such file or directory." in outcome.detail


@pytest.mark.parametrize("error", [RecursionError("secret"), ValueError("secret"), KeyError("secret")])
def test_whatever_a_library_raises_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    """The sentence names the kind of error, the log the place; neither the message, which may quote the file."""

    def failing(_: object) -> None:
        raise error

    monkeypatch.setattr(importing, "validate", failing)
    job = job_for(tmp_path / "m", model_bytes())
    sentence = f"The import process for {tmp_path / 'm'} failed with {type(error).__name__}; save the file again."
    assert answer(job) == Outcome("import_crashed", sentence)
    log = capsys.readouterr().err
    assert "in failing" in log
    assert "secret" not in log


def test_values_nested_too_deeply_to_compare_are_a_reason(tmp_path: Path) -> None:
    """Python itself raises RecursionError, in a place where nothing is called that could expect it."""
    deep = b"N" + b"\x85" * 5000
    maps = {"user_id_map": b"}" + number(0) + deep + b"s", "reverse_user_id_map": b"}" + deep + number(0) + b"s"}
    content = whole(pairs({**GOOD_MODEL, **maps, "product_id_map": b"}" + number(0) + number(7) + b"s"}))
    assert "failed with RecursionError" in answer(job_for(tmp_path / "m", content)).detail


def test_a_reason_is_never_longer_than_what_the_server_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server keeps the last 16 KB of what a child says, which must be all of it."""

    def failing(_: object) -> None:
        raise CorruptFileError("\x1b" * 100_000)

    monkeypatch.setattr(importing, "validate", failing)
    assert len(msgspec.json.encode(answer(job_for(tmp_path / "m", model_bytes())))) < 16_384


def test_the_limit_of_file_sizes_is_a_reason(tmp_path: Path) -> None:
    """A file that grows beyond it is the model's fault, not that of the state directory."""
    job = job_for(tmp_path / "m", model_bytes())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        outcome = answer(job)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert outcome == Outcome(
        "import_memory",
        f"{tmp_path / 'm'} needs more than 1024 MB of disk for one file to import; "
        "raise ALS_IMPORT_MEMORY_MB if you trust the file.",
    )
