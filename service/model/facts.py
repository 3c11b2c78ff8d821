"""How a model was made: facts that a trainer leaves in the file, for people to read; no answer depends on them."""

from __future__ import annotations

from datetime import datetime

import msgspec

from service.errors import CorruptFileError

_LONGEST = 65_536


class TrainingData(msgspec.Struct, frozen=True):
    """What a model learnt from: names of files, and how many rows, distinct pairs, users and items they had."""

    files: list[str]
    rows: int
    skipped_rows: int
    pairs: int
    users: int
    items: int


class Parameters(msgspec.Struct, frozen=True):
    """How ALS was told to learn; see :func:`service.training.als.train`."""

    factors: int
    regularization: float
    alpha: float
    popularity_discount: float
    iterations: int
    seed: int


#: How als-serve trains unless told otherwise.
DEFAULTS = Parameters(factors=128, regularization=10.0, alpha=20.0, popularity_discount=0.25, iterations=15, seed=0)


class RankingMetrics(msgspec.Struct, frozen=True):
    """How good rankings were, each number from 0 to 1; :mod:`service.training.evaluation` defines them."""

    precision: float
    recall: float
    ndcg: float
    map: float
    coverage: float


class Evaluation(msgspec.Struct, frozen=True):
    """Top ``k`` of ALS, and of popularity beside it, against ``pairs`` that were held out, of ``users`` users.

    unknown_users are those of the test that the model does not know, and that count nowhere else.
    """

    k: int
    users: int
    pairs: int
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
    """Return the facts of an untrusted file, None where it has none. Raises CorruptFileError."""
    if raw is None:
        return None
    if isinstance(raw, str) and len(raw) <= _LONGEST:
        try:
            return msgspec.json.decode(raw, type=TrainingFacts)
        except (msgspec.DecodeError, UnicodeError):
            pass
    raise CorruptFileError("training_facts is not what als-serve train writes; leave it out.")
