"""Golden requests: what a new model must answer before it is served, from a file of JSON Lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from service.errors import BadGoldenFileError
from service.model.model import Model
from service.model.scoring import scoring

#: More would take longer than the import of a model.
MOST_REQUESTS = 1000
_MOST_BYTES = 2**20
#: Characters of an item's id in a phrase.
_LONGEST = 80
_Id = int | str


class Expectation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line: a user, and what the user's top ``n`` must and must not contain.

    min_score: no item of the list may have a lower score, and there must be at least one item.
    """

    user: _Id
    contains: list[_Id] = []
    not_contains: list[_Id] = []
    min_score: float | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10


_expectation_of = msgspec.json.Decoder(Expectation)
_KEYS = ", ".join(Expectation.__struct_fields__)


@dataclass(frozen=True, slots=True)
class Golden:
    """The expectations of a file, by the number of their line."""

    name: str
    expectations: Sequence[tuple[int, Expectation]]

    def failures(self, model: Model, is_stopped: Callable[[], bool] = lambda: False) -> list[str]:
        """Return a phrase for each line that a model does not meet, without user ids; they go to logs."""
        found = []
        for line, expected in self.expectations:
            if is_stopped():
                break
            if wrong := _wrong(model, expected):
                found.append(f"line {line} of {self.name}: {wrong}")
        return found


def read_golden(path: Path) -> Golden:
    """Read a file of expectations; empty lines are passed over.

    Raises BadGoldenFileError if it is missing, too large or empty, or has a bad line.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise BadGoldenFileError(f"The golden requests in {path} cannot be read: {error.strerror}.") from None
    lines = [(number, line) for number, line in enumerate(content.splitlines(), 1) if line.strip()]
    if len(content) > _MOST_BYTES or len(lines) > MOST_REQUESTS:
        raise BadGoldenFileError(
            f"{path} has more than {MOST_REQUESTS} golden requests or {_MOST_BYTES} bytes; keep the most telling."
        )
    if not lines:
        raise BadGoldenFileError(f"{path} has no golden requests; write one a line, or unset ALS_GOLDEN.")
    return Golden(path.name, [(number, _expectation(path, number, line)) for number, line in lines])


def _expectation(path: Path, number: int, line: bytes) -> Expectation:
    try:
        return _expectation_of.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadGoldenFileError(
            f"Line {number} of {path} is not a golden request: {error}; correct it (its keys are {_KEYS})."
        ) from None


def _wrong(model: Model, expected: Expectation) -> str:
    """Say what is wrong with a model's answer, or nothing."""
    user = model.user_ids.row(expected.user)
    if user is None:
        return "the model does not know the user"
    ranked = scoring.recommend(model, user, expected.n)
    items = set(map(str, model.item_ids.at(ranked.rows)))
    if missing := [item for item in expected.contains if str(item) not in items]:
        return f"the top {expected.n} has no {str(missing[0])[:_LONGEST]}"
    if unwanted := [item for item in expected.not_contains if str(item) in items]:
        return f"the top {expected.n} has {str(unwanted[0])[:_LONGEST]}"
    lowest = float(ranked.scores[-1]) if len(ranked.scores) else None
    if expected.min_score is not None and (lowest is None or lowest < expected.min_score):
        return f"the lowest score is {'missing' if lowest is None else f'{lowest:.4g}'}, not {expected.min_score:g}"
    return ""
