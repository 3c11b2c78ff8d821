"""What a server and the process that trains for it say to one another, as lines of JSON."""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class TrainingJob(msgspec.Struct, frozen=True):
    """Train on ``data``, a path relative to ``directory``, and write the model to ``model``.

    popularity: where to write, before the training, a model that serves popularity alone. These three are inherited
    descriptors, the last two of empty files in ``place``.
    """

    data: str
    directory: int
    model: int
    popularity: int
    place: str


class Progress(msgspec.Struct, frozen=True, tag=True):
    """``done`` of ``total`` steps of a phase are done."""

    phase: str
    done: int
    total: int


class PopularityReady(msgspec.Struct, frozen=True, tag=True):
    """The data could be read; the model that serves popularity alone is written."""


class SkippedRows(msgspec.Struct, frozen=True, tag=True):
    """Bad rows of the data were left out."""

    count: int
    first: str


class Trained(msgspec.Struct, frozen=True, tag=True):
    """The model is written."""

    seconds: float


class Failed(msgspec.Struct, frozen=True, tag=True):
    """There is no model, because of ``detail``."""

    detail: str


Message: TypeAlias = Progress | PopularityReady | SkippedRows | Trained | Failed
