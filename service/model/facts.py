"""Facts about how a model was made, left in its file by training for people; no answer depends on them."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, TypeAlias

import msgspec

_LONGEST = 65_536

_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class TrainingData(msgspec.Struct, frozen=True):
    """The training data of a model: names of files, and the numbers of rows, distinct pairs, users and items.

    half_life, in days, and rated_above say how rows counted, if not by their weights alone.
    """

    files: list[str]
    rows: _Count
    skipped_rows: _Count
    pairs: _Count
    users: _Count
    items: _Count
    half_life: float | None = None
    rated_above: float | None = None


class Parameters(msgspec.Struct, frozen=True):
    """The parameters of ALS."""

    factors: _Count
    regularization: float
    alpha: float
    popularity_discount: float
    iterations: _Count
    seed: _Count
    activity_discount: float = 0.0


class RankingMetrics(msgspec.Struct, frozen=True):
    """The quality of rankings, each number from 0 to 1."""

    precision: float
    recall: float
    ndcg: float
    map: float
    coverage: float


class Evaluation(msgspec.Struct, frozen=True):
    """The evaluation of the top ``k`` by ALS and by popularity, on ``pairs`` held-out pairs of ``users`` users.

    unknown_pairs are those of ``pairs`` whose item the model does not know, so they are always misses. unknown_users
    are users of the test that the model does not know; they count nowhere else. sampled_of: how many users these were
    drawn of, if not all. margins: half the width of the 95 % confidence interval of each mean of ``als``.
    """

    k: _Count
    users: _Count
    pairs: _Count
    unknown_pairs: _Count
    unknown_users: _Count
    als: RankingMetrics
    popular: RankingMetrics
    sampled_of: _Count | None = None
    margins: dict[str, float] = {}


class TrainingFacts(msgspec.Struct, frozen=True):
    """When, from what, how and with which libraries a model was made, its quality, and the seconds by phase.

    ``trained_at`` is in UTC. Raises ValueError if it cannot be: the year 1 or 9999 of another zone.
    """

    trained_at: datetime
    data: TrainingData
    parameters: Parameters
    evaluation: Evaluation | None
    seconds: dict[str, float]
    versions: dict[str, str]

    def __post_init__(self) -> None:
        try:
            moment = self.trained_at.astimezone(UTC)
        except OverflowError as error:
            raise ValueError(str(error)) from None
        msgspec.structs.force_setattr(self, "trained_at", moment)


_facts = msgspec.json.Decoder(TrainingFacts)


def encode_facts(facts: TrainingFacts) -> str:
    """Return facts as one line of JSON, for a model file."""
    return msgspec.json.encode(facts).decode()


def prove_facts(raw: object) -> TrainingFacts | None:
    """Return the facts of an untrusted file, None if it has none that this version can read."""
    if isinstance(raw, str) and len(raw) <= _LONGEST:
        # No answer depends on them, so no model is rejected because of them.
        with suppress(msgspec.DecodeError, UnicodeError, RecursionError):
            return _facts.decode(raw)
    return None
