"""The shape of every answer with data, and how it becomes JSON."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import repeat
from math import ceil, frexp, log10
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
import numpy as np
from aiohttp import hdrs, web
from msgspec import UNSET, Meta, UnsetType
from multidict import CIMultiDict, istr

from service.live.generation import Generation
from service.model.factors import Float32, Id
from service.model.scoring.ranking import Rows
from service.model.storage.snapshot import Snapshot

MODEL_VERSION = istr("X-Model-Version")
CONTENT_TYPE = "application/json"

Strategy: TypeAlias = Literal["als", "popular", "fold_in"]

Version: TypeAlias = Annotated[
    str, Meta(pattern="^[0-9a-f]{16}$", description="The model that answered: how the SHA-256 of its file begins.")
]
Score: TypeAlias = Annotated[float, Meta(description="Of the model, a cosine, or of a popular item its users.")]

#: Where the document has the schemas of the structs below.
SCHEMAS = "#/components/schemas/{name}"

_encoder = msgspec.json.Encoder()
encode = _encoder.encode


def _one_of(*structs: type[msgspec.Struct]) -> Meta:
    """Describe a value that is one of several structs: msgspec can only where a tag tells them apart."""
    return Meta(extra_json_schema={"oneOf": [{"$ref": SCHEMAS.format(name=struct.__name__)} for struct in structs]})


class ScoredItem(msgspec.Struct, frozen=True, gc=False):
    """An item and its score; of a popular item, the number of its users. Its title if asked for and known."""

    item_id: Id
    score: Score
    title: str | UnsetType = UNSET


class ScoredUser(msgspec.Struct, frozen=True, gc=False):
    """A user and their cosine with the one asked about."""

    user_id: Id
    score: float


class WeightedItem(msgspec.Struct, frozen=True, gc=False):
    """An item that a user had, and with what weight. Its title if asked for and known."""

    item_id: Id
    weight: float
    title: str | UnsetType = UNSET


class UnknownItem(msgspec.Struct, frozen=True, gc=False):
    """An item that was asked about and is not in the model."""

    item_id: Id
    error: Literal["unknown_item"] = "unknown_item"


class Recommendations(msgspec.Struct, frozen=True):
    """What a user should see, best first."""

    model_version: Version
    user_id: Id
    strategy: Strategy
    items: list[ScoredItem]


class UserResult(msgspec.Struct, frozen=True):
    """What a batch has for one user."""

    user_id: Id
    strategy: Strategy
    items: list[ScoredItem]


class UserFailure(msgspec.Struct, frozen=True):
    """What a batch has for a user who is not in the model and gets no fallback."""

    user_id: Id
    error: Literal["unknown_user"] = "unknown_user"


class BatchRecommendations(msgspec.Struct, frozen=True):
    """A UserResult or a UserFailure for each user, in the order asked."""

    model_version: Version
    results: list[Annotated[msgspec.Raw, _one_of(UserResult, UserFailure)]]


class AnonymousRecommendations(msgspec.Struct, frozen=True):
    """What someone who is not in the model should see; ``unknown_items`` are those given that it does not know."""

    model_version: Version
    strategy: Strategy
    items: list[ScoredItem]
    unknown_items: list[Id]


class Users(msgspec.Struct, frozen=True):
    """Ids of users, in order."""

    model_version: Version
    users: list[Id]


class SimilarUsers(msgspec.Struct, frozen=True):
    """Users alike, most alike first."""

    model_version: Version
    user_id: Id
    users: list[ScoredUser]


class SimilarItems(msgspec.Struct, frozen=True):
    """Items alike, most alike first; ``title`` is that of the item asked about."""

    model_version: Version
    item_id: Id
    items: list[ScoredItem]
    title: str | UnsetType = UNSET


class ItemScores(msgspec.Struct, frozen=True):
    """A ScoredItem or an UnknownItem for each item, in the order asked."""

    model_version: Version
    user_id: Id
    items: list[Annotated[Any, _one_of(ScoredItem, UnknownItem)]]


class UserItems(msgspec.Struct, frozen=True):
    """What the user already had, in the model's order of items."""

    model_version: Version
    user_id: Id
    items: list[WeightedItem]


class Explanation(msgspec.Struct, frozen=True):
    """The user's items that speak for this one, loudest first; ``score`` is the sum over all of the user's items.

    ``title`` is that of the item asked about.
    """

    model_version: Version
    user_id: Id
    item_id: Id
    score: float
    items: list[ScoredItem]
    title: str | UnsetType = UNSET


class PopularItems(msgspec.Struct, frozen=True):
    """Items by how many users had them, most first."""

    model_version: Version
    items: list[ScoredItem]


def response(body: bytes, version: str) -> web.Response:
    """Answer a body that was computed from the model of this version."""
    return web.Response(body=body, headers=_headers(version))


@lru_cache(maxsize=4)
def _headers(version: str) -> CIMultiDict[str]:
    # An answer copies them, and copies a multidict in less than half the time of a dict.
    return CIMultiDict({hdrs.CONTENT_TYPE: CONTENT_TYPE, MODEL_VERSION: version})


def scored_items(generation: Generation, rows: Rows, scores: list[float], *, titles: bool) -> list[ScoredItem]:
    """Pair item rows, as ids, with their scores, and with their titles where these are wanted."""
    ids = generation.snapshot.model.item_ids.at(rows)
    return list(map(ScoredItem, ids, scores, titles_of(generation, rows, wanted=titles)))


def titles_of(generation: Generation, rows: Rows, *, wanted: bool) -> Iterable[str | UnsetType]:
    """Return the titles of item rows, UNSET for one that has none, and without end where none are wanted."""
    if not wanted or generation.titles is None:
        return repeat(UNSET)
    titles = generation.titles.of(generation.snapshot.model.item_ids.values.take(rows))
    return [UNSET if title is None else title for title in titles]


def title_of(generation: Generation, row: int, *, wanted: bool) -> str | UnsetType:
    """Return the title of one item row."""
    return next(iter(titles_of(generation, np.array([row], np.int32), wanted=wanted)))


def model_scores(snapshot: Snapshot, scores: Float32, *, normalize: bool) -> list[float]:
    """Return a model's scores as answered: mapped to [0, 1] by its own score range, or as they are."""
    if not normalize:
        return compact(scores)
    return list(map(snapshot.manifest.scores.normalize, scores.tolist()))


def popular_scores(snapshot: Snapshot, users: Float32, *, normalize: bool) -> list[float]:
    """Return numbers of users as answered: as a share of the most popular item's, or as they are."""
    ranges = snapshot.manifest.scores.popularity
    if not normalize or ranges is None or ranges.max == 0:
        return compact(users)
    return [count / ranges.max for count in users.tolist()]


def compact(numbers: Float32) -> list[float]:
    """Return float32 numbers as decimals of at most ten digits that read back as the same float32.

    Written as the double that it also is, 0.3 would be 0.30000001192092896: an answer would be a quarter longer.
    A float32 below 2^e lies 2^(e-25) or more from its neighbours, so it is rounded to within half of that.
    """
    # For the ten scores of most answers, calls cost more than all the arithmetic, NumPy's and round() included: to
    # add and subtract a number that has no room for fractions beside it rounds as well.
    return [
        (number * (scale := _SCALES[frexp(number)[1]]) + _NO_FRACTIONS - _NO_FRACTIONS) / scale
        for number in numbers.tolist()
    ]


_NO_FRACTIONS = 1.5 * 2.0**52
_SMALLEST_EXPONENT, _LARGEST_EXPONENT = -148, 128
#: By exponent: in this order a negative one counts from the end of the list.
_SCALES = [
    10.0 ** ceil((25 - exponent) * log10(2))
    for exponent in (*range(_LARGEST_EXPONENT + 1), *range(_SMALLEST_EXPONENT, 0))
]
