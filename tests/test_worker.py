"""What the process does that trains for a server: where the model goes, and what is told on the way."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from service.training import worker
from service.training.job import Failed, Message, PopularityReady, Progress, SkippedRows, Trained, TrainingJob
from tests.interactions import write_interactions


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    """Return a job whose directories are there and empty."""
    for name in ("models", "state"):
        (tmp_path / name).mkdir()
    return TrainingJob(
        data=str(write_interactions(tmp_path / "data.csv")),
        model_path=str(tmp_path / "models" / "als_model.pkl"),
        beside=str(tmp_path / "models" / "als_model.trained.npz"),
        spare=str(tmp_path / "state" / "trained.npz"),
        popularity=str(tmp_path / "state" / "popularity.npz"),
    )


def told(job: TrainingJob) -> list[Message]:
    """Do a job and return what was told."""
    messages: list[Message] = []
    worker.work(job, messages.append)
    return messages


def test_a_model_goes_to_the_path(job: TrainingJob) -> None:
    """Popularity is there before the training begins; every phase is told of to its end."""
    messages = told(job)
    kinds = [type(message) for message in messages]
    trained = messages[-1]
    assert isinstance(trained, Trained)
    assert trained.path == job.model_path
    ready = kinds.index(PopularityReady)
    assert messages[-3:-1] == [Progress("training", 15, 15), Progress("saving", 0, 1)]
    size = Path(job.data).stat().st_size
    assert Progress("reading", size, size) in messages[:ready]
    with np.load(job.popularity) as arrays:
        assert arrays["popularity_only"]
    with np.load(job.model_path) as arrays:
        assert len(arrays["user_factors"]) == 30


def test_a_file_at_the_path_stays(job: TrainingJob) -> None:
    """What stands there may be wanted still, however bad it is."""
    Path(job.model_path).write_text("bad")
    trained = told(job)[-1]
    assert isinstance(trained, Trained)
    assert (trained.path, trained.detail) == (job.beside, f"There is a file at {job.model_path}, and it stays.")
    assert Path(job.model_path).read_text() == "bad"


def test_a_directory_that_is_not_there(job: TrainingJob) -> None:
    """Where neither can be written, the state directory takes the model."""
    Path(job.model_path).parent.rmdir()
    trained = told(job)[-1]
    assert isinstance(trained, Trained)
    assert trained.path == job.spare
    assert trained.detail == f"The model cannot be written to {job.model_path}: No such file or directory."


def test_nowhere_to_write(job: TrainingJob) -> None:
    """That is a failure, said in a sentence, and popularity could not be written either."""
    for path in (job.model_path, job.spare):
        Path(path).parent.rmdir()
    messages = told(job)
    assert messages[-1] == Failed(f"The model cannot be written to {job.spare}: No such file or directory.")
    assert not any(isinstance(message, PopularityReady) for message in messages)


def test_bad_rows_are_left_out(job: TrainingJob) -> None:
    """One bad row among many does not prevent a start."""
    with Path(job.data).open("a") as file:
        file.write(",7\n")
    (skipped,) = (message for message in told(job) if isinstance(message, SkippedRows))
    assert skipped.count == 1
    assert "line 152: the user is missing" in skipped.first


def test_data_that_is_not_there(job: TrainingJob) -> None:
    """The sentence names the file."""
    missing = msgspec.structs.replace(job, data="/nowhere/data.csv")
    assert told(missing) == [Failed("/nowhere/data.csv cannot be read: No such file or directory.")]


def test_too_little_memory(job: TrainingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own complaint becomes a sentence."""

    def train(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(worker, "train", train)
    assert told(job)[-1] == Failed(f"Training on {job.data} needs more memory than there is.")
