"""The messages between a server and its child processes, as lines of JSON: jobs and outcomes."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from service.errors import AlsServeError
from service.model.conversion import Conversion
from service.model.storage.source import Source, text_of

Content: TypeAlias = Literal["model", "catalog"]


class Job(msgspec.Struct, frozen=True):
    """An import: the source file, the kind of its content, the directory to write to, and the limits.

    descriptor, staged: the open file and directory, inherited. memory_bytes: limits the address space and each written
    file. private_bytes: limits memory other than files, if a control group does. cpu_seconds: limits CPU time.
    keys: the keys of a pickled dict in the file, by ours; of a catalog, what the user says of columns, by their names.
    """

    source: Source
    descriptor: int
    staged: int
    root: str
    memory_bytes: int
    private_bytes: int | None
    cpu_seconds: int
    content: Content = "model"
    keys: dict[str, str] = {}


class Outcome(msgspec.Struct, frozen=True):
    """The child's answer: the code and sentence (with marks) of a rejection, or two empty strings."""

    code: str = ""
    detail: str = ""

    @classmethod
    def of(cls, error: AlsServeError) -> Outcome:
        """Describe a rejection in a bounded number of characters."""
        return cls(error.code, error.marked)


class DataLayout(msgspec.Struct, frozen=True):
    """The layout of training data, as the settings have it."""

    columns: str | None = None
    delimiter: str | None = None
    encoding: str | None = None


class TrainingJob(msgspec.Struct, frozen=True):
    """Train on ``data``, a path relative to ``directory``, and write the model to ``model``.

    popularity: where to write a popularity-only model before the training. These three are inherited descriptors, the
    last two of empty files in ``place``.
    """

    data: str
    directory: int
    model: int
    popularity: int
    place: str
    layout: DataLayout = DataLayout()


class ConversionJob(msgspec.Struct, frozen=True):
    """Convert a model of Spark, and write it to ``output``, an inherited descriptor.

    memory_bytes: the limit of memory other than files; 0 derives it from the size of the files. private_bytes: the
    limit that a control group leaves, if any. cpu_seconds: limits CPU time.
    """

    conversion: Conversion
    output: int
    memory_bytes: int
    private_bytes: int | None
    cpu_seconds: int

    @property
    def model(self) -> str:
        """Return how messages name the model."""
        return text_of(self.conversion.model)


class Progress(msgspec.Struct, frozen=True, tag=True):
    """``done`` of ``total`` steps of a phase are done."""

    phase: str
    done: int
    total: int


class PopularityReady(msgspec.Struct, frozen=True, tag=True):
    """The data was read; the popularity-only model is written."""


class SkippedRows(msgspec.Struct, frozen=True, tag=True):
    """Bad rows of the data were skipped."""

    count: int
    first: str


class Remark(msgspec.Struct, frozen=True, tag=True):
    """A sentence about the data, which was read all the same."""

    text: str


class Trained(msgspec.Struct, frozen=True, tag=True):
    """The model is written."""

    seconds: float


class Converted(msgspec.Struct, frozen=True, tag=True):
    """The model was converted and is written; pairs: None without seen items."""

    users: int
    items: int
    factors: int
    pairs: int | None


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The training failed because of ``detail``."""

    detail: str


Message: TypeAlias = Progress | PopularityReady | SkippedRows | Remark | Trained | Converted | Failed
