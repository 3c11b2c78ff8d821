"""How a model was made: facts that a trainer leaves in the file, for people to read; no answer depends on them."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Annotated, TypeAlias

import msgspec

_LONGEST = 65_536

_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class TrainingData(msgspec.Struct, frozen=True):
    """What a model learnt from: names of files, and how many rows, distinct pairs, users and items they had."""

    files: list[str]
    rows: _Count
    skipped_rows: _Count
    pairs: _Count
    users: _Count
    items: _Count


class Parameters(msgspec.Struct, frozen=True):
    """How ALS was told to learn."""

    factors: int
    regularization: float
    alpha: float
    popularity_discount: float
    iterations: int
    seed: int
    activity_discount: float = 0.0


class RankingMetrics(msgspec.Struct, frozen=True):
    """How good rankings were, each number from 0 to 1."""

    precision: float
    recall: float
    ndcg: float
    map: float
    coverage: float


class Evaluation(msgspec.Struct, frozen=True):
    """Top ``k`` of ALS, and of popularity beside it, against ``pairs`` that were held out, of ``users`` users.

    unknown_pairs are those of ``pairs`` whose item the model does not know, so that nothing can find them.
    unknown_users are those of the test that the model does not know, and that count nowhere else.
    """

    k: int
    users: int
    pairs: int
    unknown_pairs: int
    unknown_users: int
    als: RankingMetrics
    popular: RankingMetrics


class TrainingFacts(msgspec.Struct, frozen=True):
    """When, from what, how and with which libraries a model was made, how good it was, and what took how long."""

    trained_at: datetime
    data: TrainingData
    parameters: Parameters
    evaluation: Evaluation | None
    seconds: dict[str, float]
    versions: dict[str, str]


def encode_facts(facts: TrainingFacts) -> str:
    """Return facts as they stand in a model file: one line of JSON."""
    return msgspec.json.encode(facts).decode()


def prove_facts(raw: object) -> TrainingFacts | None:
    """Return the facts of an untrusted file; None where it has none that this version knows how to read."""
    if isinstance(raw, str) and len(raw) <= _LONGEST:
        with suppress(msgspec.DecodeError, UnicodeError):  # no answer depends on them, so no model is refused for them
            return msgspec.json.decode(raw, type=TrainingFacts)
    return None
