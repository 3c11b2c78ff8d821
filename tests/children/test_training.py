"""The process that trains for a server: its model, and its messages on the way."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from service.children import training
from service.children.jobs import Failed, Message, PopularityReady, Progress, Remark, SkippedRows, Trained, TrainingJob
from tests.support.interactions import write_interactions

pytestmark = pytest.mark.usefixtures("children_are_measured")


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    """Return a job whose files are there and empty."""
    model, popularity = (os.open(tmp_path / name, os.O_WRONLY | os.O_CREAT) for name in ("model", "popularity"))
    data = write_interactions(tmp_path / "data.csv")
    return TrainingJob(str(data), directory=-1, model=model, popularity=popularity, place=str(tmp_path))


def told(job: TrainingJob) -> list[Message]:
    """Do a job and return its messages."""
    messages: list[Message] = []
    training.work(job, messages.append)
    return messages


def test_a_model_is_made(job: TrainingJob, tmp_path: Path) -> None:
    """Popularity is written before the training; every phase is reported to its end."""
    messages = told(job)
    kinds = [type(message) for message in messages]
    assert isinstance(messages[-1], Trained)
    ready = kinds.index(PopularityReady)
    assert messages[-3:-1] == [Progress("training", 4, 4), Progress("saving", 0, 1)]
    size = Path(job.data).stat().st_size
    assert Progress("reading", size, size) in messages[:ready]
    with np.load(tmp_path / "popularity") as arrays:
        assert arrays["popularity_only"]
    with np.load(tmp_path / "model") as arrays:
        assert len(arrays["user_factors"]) == 30


def test_nowhere_to_write(job: TrainingJob) -> None:
    """That is a failure, said in a sentence, and popularity could not be written either."""
    model, popularity = (os.open("/dev/full", os.O_WRONLY) for _ in range(2))
    messages = told(msgspec.structs.replace(job, model=model, popularity=popularity))
    assert messages[-1] == Failed(f"The model cannot be written to {job.place}: No space left on device.")
    assert not any(isinstance(message, PopularityReady) for message in messages)


def test_what_may_no_longer_be_opened_is_read(job: TrainingJob) -> None:
    """Text, zipped text and Parquet are opened before a process gives up what it may, and read after that."""
    directory = Path(job.data).parent / "data"
    directory.mkdir()
    rows = Path(job.data).read_bytes()
    (directory / "a.csv").write_bytes(rows + b",7\n")
    (directory / "b.csv.gz").write_bytes(gzip.compress(rows))
    pyarrow.parquet.write_table(pyarrow.csv.read_csv(job.data), directory / "c.parquet")
    messages: list[Message] = []
    job = msgspec.structs.replace(job, data=str(directory))
    training.work(job, messages.append, on_opened=lambda: shutil.rmtree(directory))
    assert isinstance(messages[-1], Trained), messages[-1]
    (skipped,) = (message for message in messages if isinstance(message, SkippedRows))
    assert skipped.count == 1
    assert skipped.first.startswith(f"{directory}/a.csv, line 152: the user is missing")


def test_data_that_may_not_be_opened(job: TrainingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names the file."""

    def refused(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("service.training.data_files.os.open", refused)
    assert told(job) == [Failed(f"{job.data} cannot be read: Permission denied.")]


def test_bad_rows_are_left_out(job: TrainingJob) -> None:
    """One bad row among many does not prevent a start."""
    with Path(job.data).open("a") as file:
        file.write(",7\n")
    (skipped,) = (message for message in told(job) if isinstance(message, SkippedRows))
    assert skipped.count == 1
    assert "line 152: the user is missing" in skipped.first


def test_weights_that_cannot_be_read_are_not_used(job: TrainingJob) -> None:
    """A start with worse recommendations is better than none, and a remark says so."""
    rows = "".join(f"u{user},i{(user + step) % 7},much\n" for user in range(30) for step in range(3))
    Path(job.data).write_text("user,item,weight\n" + rows)
    messages = told(job)
    assert isinstance(messages[-1], Trained)
    remarks = [message.text for message in messages if isinstance(message, Remark)]
    assert any(sentence.endswith("; the weights are not used") for sentence in remarks), remarks


def test_data_that_is_not_there(job: TrainingJob) -> None:
    """The sentence names the file."""
    missing = msgspec.structs.replace(job, data="/nowhere/data.csv")
    assert told(missing) == [Failed("/nowhere/data.csv cannot be read: No such file or directory.")]


def test_too_little_memory(job: TrainingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own complaint becomes a sentence."""

    def train(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(training, "train", train)
    assert told(job)[-1] == Failed(f"Training on {job.data} needs more memory than is available.")
