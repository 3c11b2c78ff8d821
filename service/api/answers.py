"""The shapes of answers with data, and their encoding as JSON."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache
from itertools import repeat
from operator import neg
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType
from multidict import CIMultiDict, istr

from service.api.decimals import compact
from service.api.sending import WholeResponse
from service.live.generation import Generation
from service.model.factors import Float32, Id
from service.model.rollout.arms import Arm
from service.model.scoring.ranking import Rows
from service.model.storage.snapshot import Snapshot
from service.model.storage.source import Version

MODEL_VERSION = istr("X-Model-Version")
CONTENT_TYPE = "application/json"

Strategy: TypeAlias = Literal["als", "session", "popular", "fold_in"]

ShownArm: TypeAlias = Annotated[
    Arm | UnsetType,
    Meta(description="While there is a candidate: whether this is from the served model, or from the candidate."),
]
Score: TypeAlias = Annotated[
    float, Meta(description="The model's score, a cosine similarity, or a popular item's number of users.")
]

#: The place of the schemas of the structs below in the document.
SCHEMAS = "#/components/schemas/{name}"

_encoder = msgspec.json.Encoder()
encode = _encoder.encode


def _one_of(*structs: type[msgspec.Struct]) -> Meta:
    """Describe a value that is one of several structs, which msgspec can only do for tagged structs."""
    return Meta(extra_json_schema={"oneOf": [{"$ref": SCHEMAS.format(name=struct.__name__)} for struct in structs]})


class ScoredItem(msgspec.Struct, frozen=True, gc=False):
    """An item and its score; for popular items, the number of users. The title is included if requested and known."""

    item_id: Id
    score: Score
    title: str | UnsetType = UNSET


class ScoredUser(msgspec.Struct, frozen=True, gc=False):
    """A user and their cosine similarity to the requested one, or their score for the requested item."""

    user_id: Id
    score: float


class WeightedItem(msgspec.Struct, frozen=True, gc=False):
    """A seen item and its weight. The title is included if requested and known.

    ``available`` is included, and false, if the item must not be shown.
    """

    item_id: Id
    weight: float
    title: str | UnsetType = UNSET
    available: bool | UnsetType = UNSET


class UnknownItem(msgspec.Struct, frozen=True, gc=False):
    """A requested item that is not in the model."""

    item_id: Id
    error: Literal["unknown_item"] = "unknown_item"


class Recommendations(msgspec.Struct, frozen=True):
    """A user's recommendations, best first."""

    model_version: Version
    user_id: Id
    strategy: Strategy
    items: list[ScoredItem]
    arm: ShownArm = UNSET


class UserResult(msgspec.Struct, frozen=True):
    """One user's recommendations in a batch; ``model_version`` is that of the arm, while there is a candidate."""

    user_id: Id
    strategy: Strategy
    items: list[ScoredItem]
    model_version: Version | UnsetType = UNSET
    arm: ShownArm = UNSET


class UserFailure(msgspec.Struct, frozen=True):
    """The entry in a batch for a user who is not in the model and gets no fallback; otherwise as a UserResult."""

    user_id: Id
    error: Literal["unknown_user"] = "unknown_user"
    model_version: Version | UnsetType = UNSET
    arm: ShownArm = UNSET


class BatchRecommendations(msgspec.Struct, frozen=True):
    """A UserResult or a UserFailure for each user, in the requested order; ``arm`` is the served one, if given."""

    model_version: Version
    results: list[Annotated[msgspec.Raw, _one_of(UserResult, UserFailure)]]
    arm: ShownArm = UNSET


class AnonymousRecommendations(msgspec.Struct, frozen=True):
    """Recommendations for someone outside the model; ``unknown_items`` are those the model does not know."""

    model_version: Version
    strategy: Strategy
    items: list[ScoredItem]
    unknown_items: list[Id]
    arm: ShownArm = UNSET


class SessionRecommendations(msgspec.Struct, frozen=True):
    """A user's recommendations after a session; ``unknown_items`` are those of it that the model does not know."""

    model_version: Version
    user_id: Id
    strategy: Strategy
    items: list[ScoredItem]
    unknown_items: list[Id]
    arm: ShownArm = UNSET


class UserIds(msgspec.Struct, frozen=True):
    """User ids, in ascending order."""

    model_version: Version
    users: list[Id]
    arm: ShownArm = UNSET


class SimilarUsers(msgspec.Struct, frozen=True):
    """Similar users, most similar first."""

    model_version: Version
    user_id: Id
    users: list[ScoredUser]
    arm: ShownArm = UNSET


class Audience(msgspec.Struct, frozen=True):
    """The users with the greatest scores for an item who have not had it, best first."""

    model_version: Version
    item_id: Id
    users: list[ScoredUser]
    arm: ShownArm = UNSET


class SimilarItems(msgspec.Struct, frozen=True):
    """Similar items, most similar first; ``title`` is the requested item's."""

    model_version: Version
    item_id: Id
    items: list[ScoredItem]
    title: str | UnsetType = UNSET
    arm: ShownArm = UNSET


class ItemScores(msgspec.Struct, frozen=True):
    """A ScoredItem or an UnknownItem for each item, in the requested order."""

    model_version: Version
    user_id: Id
    items: list[Annotated[Any, _one_of(ScoredItem, UnknownItem)]]
    arm: ShownArm = UNSET


class UserItems(msgspec.Struct, frozen=True):
    """The user's seen items, in the model's item order."""

    model_version: Version
    user_id: Id
    items: list[WeightedItem]
    arm: ShownArm = UNSET


class Explanation(msgspec.Struct, frozen=True):
    """The seen items that contribute to this item's score, largest first; ``score`` is the sum over all seen items.

    ``title`` is the requested item's.
    """

    model_version: Version
    user_id: Id
    item_id: Id
    score: float
    items: list[ScoredItem]
    title: str | UnsetType = UNSET
    arm: ShownArm = UNSET


class FoundItem(msgspec.Struct, frozen=True, gc=False):
    """An item, and its title if that is known."""

    item_id: Id
    title: str | UnsetType = UNSET


class FoundItems(msgspec.Struct, frozen=True):
    """Items, those whose ids match before those whose titles do."""

    model_version: Version
    items: list[FoundItem]
    arm: ShownArm = UNSET


class Item(msgspec.Struct, frozen=True):
    """An item, whether it may be shown, and its attributes in the catalog, without those that are missing.

    A date is text, as in a filter.
    """

    model_version: Version
    item_id: Id
    available: bool
    attributes: dict[str, bool | float | str | list[bool | float | str]]
    title: str | UnsetType = UNSET
    arm: ShownArm = UNSET


class PopularItems(msgspec.Struct, frozen=True):
    """Items by their number of users, most popular first."""

    model_version: Version
    items: list[ScoredItem]
    arm: ShownArm = UNSET


def response(body: bytes, version: str) -> WholeResponse:
    """Return an answer whose body was computed from the model of this version."""
    return WholeResponse(body, CONTENT_TYPE, headers=_headers(version))


@lru_cache(maxsize=4)
def _headers(version: str) -> CIMultiDict[str]:
    # Each answer copies them; a multidict is copied in less than half the time of a dict.
    return CIMultiDict({MODEL_VERSION: version})


def scored_items(
    generation: Generation,
    rows: Rows,
    scores: list[float],
    *,
    titles: bool,
    min_score: float | UnsetType = UNSET,
) -> list[ScoredItem]:
    """Pair the ids of item rows with their scores, and with their titles if wanted.

    min_score: leave out lower scores, which are the last ones.
    """
    if min_score is not UNSET:
        scores = scores[: bisect_right(scores, -min_score, key=neg)]
        rows = rows[: len(scores)]
    ids = generation.snapshot.model.item_ids.at(rows)
    return list(map(ScoredItem, ids, scores, titles_of(generation, rows, wanted=titles)))


def titles_of(generation: Generation, rows: Rows, *, wanted: bool) -> Iterable[str | UnsetType]:
    """Return the titles of item rows, UNSET where there is none; an endless UNSET if titles are not wanted."""
    catalog, places = generation.assortment.catalog, generation.assortment.catalog_rows
    if not wanted or catalog is None or catalog.titles is None or places is None:
        return repeat(UNSET)
    asked = places.take(rows)
    titles = zip(asked.tolist(), catalog.titles.at(asked.clip(min=0)), strict=True)
    return [title if place >= 0 and title else UNSET for place, title in titles]


def title_of(generation: Generation, row: int, *, wanted: bool) -> str | UnsetType:
    """Return the title of one item row."""
    return next(iter(titles_of(generation, np.array([row], np.int32), wanted=wanted)))


def model_scores(snapshot: Snapshot, scores: Float32, *, normalize: bool) -> list[float]:
    """Return a model's scores for an answer: mapped to [0, 1] by its score range, or as they are."""
    if not normalize:
        return compact(scores)
    return list(map(snapshot.manifest.scores.normalize, scores.tolist()))


def popular_scores(snapshot: Snapshot, users: Float32, *, normalize: bool) -> list[float]:
    """Return numbers of users for an answer: as a share of the most popular item's, or as they are."""
    ranges = snapshot.manifest.scores.popularity
    if not normalize or ranges is None or ranges.max == 0:
        return compact(users)
    return [count / ranges.max for count in users.tolist()]
