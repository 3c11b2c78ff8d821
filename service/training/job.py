"""What a server and the process that trains for it say to one another, as lines of JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import msgspec


def temporary(path: Path, pid: int, mark: str) -> Path:
    """Return where a process writes what is to stand at ``path`` once it is whole; ``mark`` may be a pattern."""
    return path.with_name(f".{path.name}.{pid}-{mark}.tmp")


class TrainingJob(msgspec.Struct, frozen=True):
    """Train on ``data`` and put the model at ``model_path``, or where that is taken, ``beside`` it.

    Where neither can be written it goes to ``spare``. popularity: where to put, before the training, a model that
    serves popularity alone.
    """

    data: str
    model_path: str
    beside: str
    spare: str
    popularity: str


class Progress(msgspec.Struct, frozen=True, tag=True):
    """``done`` of ``total`` steps of a phase are done."""

    phase: str
    done: int
    total: int


class PopularityReady(msgspec.Struct, frozen=True, tag=True):
    """The data could be read; the model that serves popularity alone is written."""

    path: str


class SkippedRows(msgspec.Struct, frozen=True, tag=True):
    """Bad rows of the data were left out."""

    count: int
    first: str


class Trained(msgspec.Struct, frozen=True, tag=True):
    """The model is written to ``path``; ``detail`` says why that is not the model path."""

    path: str
    seconds: float
    detail: str = ""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """There is no model, because of ``detail``."""

    detail: str


Message: TypeAlias = Progress | PopularityReady | SkippedRows | Trained | Failed
