"""Facts about how a model was made, left in its file by training for people; no answer depends on them."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Annotated, TypeAlias

import msgspec

_LONGEST = 65_536

_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class TrainingData(msgspec.Struct, frozen=True):
    """The training data of a model: names of files, and the numbers of rows, distinct pairs, users and items."""

    files: list[str]
    rows: _Count
    skipped_rows: _Count
    pairs: _Count
    users: _Count
    items: _Count


class Parameters(msgspec.Struct, frozen=True):
    """The parameters of ALS."""

    factors: int
    regularization: float
    alpha: float
    popularity_discount: float
    iterations: int
    seed: int


#: The default parameters of als-serve.
DEFAULTS = Parameters(factors=128, regularization=10.0, alpha=20.0, popularity_discount=0.25, iterations=15, seed=0)


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
    are users of the test that the model does not know; they count nowhere else.
    """

    k: int
    users: int
    pairs: int
    unknown_pairs: int
    unknown_users: int
    als: RankingMetrics
    popular: RankingMetrics


class TrainingFacts(msgspec.Struct, frozen=True):
    """When, from what, how and with which libraries a model was made, its quality, and the seconds by phase."""

    trained_at: datetime
    data: TrainingData
    parameters: Parameters
    evaluation: Evaluation | None
    seconds: dict[str, float]
    versions: dict[str, str]


def encode_facts(facts: TrainingFacts) -> str:
    """Return facts as one line of JSON, for a model file."""
    return msgspec.json.encode(facts).decode()


def prove_facts(raw: object) -> TrainingFacts | None:
    """Return the facts of an untrusted file, None if it has none that this version can read."""
    if isinstance(raw, str) and len(raw) <= _LONGEST:
        with suppress(
            msgspec.DecodeError, UnicodeError
        ):  # no answer depends on them, so no model is rejected because of them
            return msgspec.json.decode(raw, type=TrainingFacts)
    return None
