"""What each route takes, answers and refuses: all of the API's document that its handlers do not say themselves."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import msgspec

from service.api import answers, health, model, pages
from service.api.bodies import AnonymousBody, BatchBody
from service.errors import (
    AlsServeError,
    BadBodyError,
    BadParameterError,
    BodyTooLargeError,
    EncodedBodyError,
    InvalidBodyError,
    LimitedModelError,
    NoSeenItemsError,
    NotReadyError,
    OverloadedError,
    RequestTimeoutError,
    UnknownItemError,
    UnknownUserError,
    UnsupportedMediaTypeError,
)

Errors = tuple[type[AlsServeError], ...]

_QUERY: Errors = (BadParameterError,)
_BODY: Errors = (
    BadBodyError,
    RequestTimeoutError,
    BodyTooLargeError,
    UnsupportedMediaTypeError,
    EncodedBodyError,
    InvalidBodyError,
)
_MODEL: Errors = (NotReadyError,)
_FACTORS: Errors = (NotReadyError, LimitedModelError)
_LONG: Errors = (OverloadedError,)

TAGS = {
    "Recommendations": "What should this user see?",
    "Users": "About the users of the model.",
    "Items": "About the items of the model.",
    "Server": "What is served, and how the server is.",
    "Pages": "For people: the explorer and this document, and what they are made of.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path.

    ``name`` is the operationId. ``query`` names parameters, ``answer`` is the JSON of a 200; where that is no JSON of
    ours, ``media`` says what it is instead: the schema by media type. ``files`` are those that a path may name.
    ``tagged``: the answer has an ETag, and there is a 304.
    """

    name: str
    tag: str
    query: tuple[str, ...] = ()
    body: type[msgspec.Struct] | None = None
    answer: type[msgspec.Struct] | None = None
    media: Mapping[str, object] = field(default_factory=dict)
    files: Collection[str] = ()
    tagged: bool = False
    errors: Errors = ()


_TEXT = {"type": "string"}

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("GET", "/v1/users/{user}/recommendations"): Operation(
        name="recommend",
        tag="Recommendations",
        query=("n", "offset", "exclude_seen", "exclude", "fallback", "normalize", "titles"),
        answer=answers.Recommendations,
        errors=(*_QUERY, UnknownUserError, *_MODEL, *_LONG),
    ),
    ("POST", "/v1/recommendations"): Operation(
        name="recommend_to_many",
        tag="Recommendations",
        body=BatchBody,
        answer=answers.BatchRecommendations,
        errors=(*_QUERY, *_BODY, *_MODEL, *_LONG),
    ),
    ("POST", "/v1/recommendations/anonymous"): Operation(
        name="recommend_to_anonymous",
        tag="Recommendations",
        body=AnonymousBody,
        answer=answers.AnonymousRecommendations,
        errors=(*_QUERY, *_BODY, UnknownItemError, NoSeenItemsError, *_MODEL, *_LONG),
    ),
    ("GET", "/v1/users"): Operation(
        name="list_users",
        tag="Users",
        query=("n", "offset", "prefix"),
        answer=answers.Users,
        errors=(*_QUERY, *_MODEL),
    ),
    ("GET", "/v1/users/{user}/items"): Operation(
        name="user_items",
        tag="Users",
        query=("n", "offset", "titles"),
        answer=answers.UserItems,
        errors=(*_QUERY, UnknownUserError, NoSeenItemsError, *_MODEL),
    ),
    ("GET", "/v1/users/{user}/scores"): Operation(
        name="score_items",
        tag="Users",
        query=("items", "normalize", "titles"),
        answer=answers.ItemScores,
        errors=(*_QUERY, UnknownUserError, *_FACTORS, *_LONG),
    ),
    ("GET", "/v1/users/{user}/explanations/{item}"): Operation(
        name="explain",
        tag="Users",
        query=("n", "titles"),
        answer=answers.Explanation,
        errors=(*_QUERY, UnknownUserError, UnknownItemError, NoSeenItemsError, *_FACTORS, *_LONG),
    ),
    ("GET", "/v1/users/{user}/similar"): Operation(
        name="similar_users",
        tag="Users",
        query=("n",),
        answer=answers.SimilarUsers,
        errors=(*_QUERY, UnknownUserError, *_FACTORS, *_LONG),
    ),
    ("GET", "/v1/items/{item}/similar"): Operation(
        name="similar_items",
        tag="Items",
        query=("n", "titles"),
        answer=answers.SimilarItems,
        errors=(*_QUERY, UnknownItemError, *_FACTORS, *_LONG),
    ),
    ("GET", "/v1/items/popular"): Operation(
        name="popular_items",
        tag="Items",
        query=("n", "offset", "titles"),
        answer=answers.PopularItems,
        errors=(*_QUERY, NoSeenItemsError, *_MODEL),
    ),
    ("GET", "/v1/model"): Operation(name="served_model", tag="Server", answer=model.ServedModel, errors=_QUERY),
    ("GET", "/healthz"): Operation(name="alive", tag="Server", answer=health.Alive, errors=_QUERY),
    ("GET", "/readyz"): Operation(name="ready", tag="Server", answer=health.Ready, errors=(*_QUERY, *_MODEL)),
    ("GET", "/metrics"): Operation(
        name="metrics", tag="Server", media={"text/plain": _TEXT, "application/openmetrics-text": _TEXT}
    ),
    ("GET", "/"): Operation(name="explorer", tag="Pages", media={"text/html": _TEXT}, tagged=True),
    ("GET", "/explorer/{file}"): Operation(
        name="explorer_file",
        tag="Pages",
        files=pages.EXPLORER_FILES,
        media={"text/html": _TEXT, "text/javascript": _TEXT, "text/css": _TEXT, "image/svg+xml": _TEXT},
        tagged=True,
    ),
    ("GET", "/openapi.json"): Operation(
        name="openapi",
        tag="Pages",
        media={"application/json": {"type": "object"}},
        tagged=True,
        errors=_QUERY,
    ),
    ("GET", "/docs"): Operation(
        name="documentation", tag="Pages", media={"text/html": _TEXT}, tagged=True, errors=_QUERY
    ),
    ("GET", "/docs/{file}"): Operation(
        name="documentation_file",
        tag="Pages",
        files=pages.REFERENCE_FILES,
        media={"text/javascript": _TEXT, "text/css": _TEXT},
        tagged=True,
        errors=_QUERY,
    ),
}
