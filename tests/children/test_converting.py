"""The conversion process: its messages, in this process, and what it makes of failures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from service.children import converting
from service.children.converting import work
from service.children.jobs import ConversionJob, Converted, Failed, Message, Progress, Remark
from service.model.conversion import Conversion
from tests.support.spark import FIXTURES, VERSIONS

MODEL = FIXTURES / VERSIONS[0] / "als"


def job(out: Path, **changes: Any) -> ConversionJob:
    """Return a job that writes to a file."""
    output = os.open(out, os.O_RDWR | os.O_CREAT)
    fixed = {"memory_bytes": 0, "private_bytes": None, "cpu_seconds": 60}
    return ConversionJob(Conversion(MODEL), output, **fixed | changes)


def messages(todo: ConversionJob) -> list[Message]:
    """Do a job, and return its messages."""
    told: list[Message] = []
    work(todo, told.append, confined=False)
    return told


def test_progress_remarks_and_the_outcome_are_told(tmp_path: Path) -> None:
    """Progress ends with all bytes of the factors, and the outcome is last."""
    told = messages(job(tmp_path / "m.npz"))
    progress = [message for message in told if isinstance(message, Progress)]
    assert progress[-1].phase == "converting"
    assert 0 < progress[-1].done <= progress[-1].total
    assert [type(message) for message in told[-4:]] == [Remark, Remark, Remark, Converted]
    assert told[-1] == Converted(users=11, items=8, factors=4, pairs=None)
    with np.load(tmp_path / "m.npz") as arrays:
        assert len(arrays["user_ids"]) == 11


def test_a_refusal_is_told(tmp_path: Path) -> None:
    """As the sentence that it is."""
    missing = tmp_path / "nothing"
    todo = msgspec.structs.replace(job(tmp_path / "m.npz"), conversion=Conversion(missing))
    remedy = "name the directory in which Spark saved a model."
    assert messages(todo) == [Failed(f"{missing} does not exist; {remedy}")]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            MemoryError(),
            f"{MODEL} needs more than 7 MB of memory to convert; raise ALS_IMPORT_MEMORY_MB if you trust the files.",
        ),
        (OSError(28, "No space left on device"), "The model cannot be written: No space left on device."),
        (
            ZeroDivisionError("secret"),
            f"The conversion of {MODEL} failed with ZeroDivisionError; save the model again.",
        ),
    ],
    ids=["memory", "disk", "bug"],
)
def test_every_failure_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    """Whatever a library raises; its own message, which could quote a file, is not told."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(converting, "write", fail)
    assert messages(job(tmp_path / "m.npz", memory_bytes=7 * 2**20))[-1] == Failed(sentence)
