"""The options of requests, with their types, ranges, defaults and descriptions.

One struct field defines an option: query strings and bodies are parsed by it, the API's document describes it, and
handlers receive it. A struct that inherits from several has the options of each, in their order.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar, cast, dataclass_transform

import msgspec
from msgspec import UNSET, Meta, StructMeta, UnsetType

from service.api.context import Fallback, Limits
from service.model.factors import Id
from service.model.filtering.expressions import MAX_CHARACTERS as MAX_FILTER_CHARACTERS
from service.model.storage.source import Version

DEFAULT_N = 10
#: Nobody reads recommendations beyond this, and ranking them would mean sorting the catalogue for one request.
MAX_OFFSET = 10_000
#: The most ids that one request may list.
MAX_IDS = 1000
#: Weights are plays, purchases or minutes, far below this; its square still fits a float32.
MAX_WEIGHT = 1e6


class _Combining(StructMeta):
    """Lets structs have several bases: msgspec allows only one with fields, so the others' fields are copied.

    At run time the struct only inherits from its first base, although type checkers see all of them. Defaults must be
    values, because factories are not copied.
    """

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **config: Any) -> _Combining:
        copied = [field for base in bases[1:] for field in msgspec.structs.fields(base)]
        types = {field.name: field.type for field in copied}
        defaults = {field.name: field.default for field in copied if not field.required}
        namespace["__annotations__"] = types | namespace.get("__annotations__", {})
        return super().__new__(mcls, name, bases[:1], defaults | namespace, kw_only=True, **config)


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Options(msgspec.Struct, metaclass=_Combining, frozen=True, forbid_unknown_fields=True):
    """The base of all options; by itself, a request without parameters."""


class Anything(Options):
    """Any query: it is neither read nor refused."""


class Versioned(Options):
    """The version that answers."""

    model_version: Version | UnsetType = UNSET


class Counted(Options):
    """The number of entries. A server may set a lower limit, and thus default."""

    n: Annotated[int, Meta(ge=1, description="The maximum number of entries to return.")] = DEFAULT_N


class Skipping(Options):
    """The start of a page."""

    offset: Annotated[int, Meta(ge=0, le=MAX_OFFSET, description="The number of entries to skip.")] = 0


class Unseen(Options):
    """Whether seen items are excluded."""

    exclude_seen: Annotated[bool, Meta(description="Exclude the user's seen items.")] = True


class Excluding(Options):
    """The excluded items."""

    exclude: Annotated[tuple[Id, ...], Meta(max_length=MAX_IDS, description="Ids of items to exclude.")] = ()


class Narrowing(Options):
    """Which items an answer may have."""

    # Its length is checked where it is parsed, so that whatever is wrong with a filter is the same error.
    filter: Annotated[
        str,
        Meta(
            description="What is true of the items in the answer, by the catalog's attributes, such as "
            "`genre IN ('horror', 'cookery') AND NOT discontinued`.",
            extra_json_schema={"maxLength": MAX_FILTER_CHARACTERS, "format": "filter"},
        ),
    ] = ""
    only: (
        Annotated[
            tuple[Id, ...],
            Meta(max_length=MAX_IDS, description="Ids of the only items that may be in the answer."),
        ]
        | UnsetType
    ) = UNSET
    min_score: (
        Annotated[float, Meta(description="Leave out items that score lower, on the scale of the scores returned.")]
        | UnsetType
    ) = UNSET
    max_per: Annotated[
        str,
        Meta(
            description="Take at most so many items of each value of an attribute, the best ones, such as `genre:2`.",
            extra_json_schema={"format": "max_per"},
        ),
    ] = ""


class FallingBack(Options):
    """What unknown users get. The server's settings give the default."""

    fallback: Annotated[
        Fallback,
        Meta(
            description="What to return for a user who is not in the model: popular items if the model has them, or "
            "none (404).",
        ),
    ] = "popular"


class Scored(Options):
    """The scale of scores."""

    normalize: Annotated[
        bool, Meta(description="Map scores to 0…1 by the model's range of recommendation scores, or of popularity.")
    ] = False


class Titled(Options):
    """The details of items."""

    titles: Annotated[bool, Meta(description="Include item titles where known.")] = False


class ListedItems(Options):
    """The requested items."""

    items: Annotated[tuple[Id, ...], Meta(min_length=1, max_length=MAX_IDS, description="The items to score.")]


class Paged(Counted, Skipping):
    """A page of a long list."""


class ListedUsers(Counted, Skipping):
    """The listed users."""

    prefix: Annotated[str, Meta(description="List only ids that begin with this.")] = ""
    after: Annotated[
        str, Meta(description="List only ids that come after this one, such as the last of the page before.")
    ] = ""


class Search(Counted, Skipping):
    """What is looked for among the items."""

    query: Annotated[
        str, Meta(description="Find only items with an id, or a word of the title, that begins with this.")
    ] = ""


class Entries(Counted, Titled):
    """A list of items."""


class SimilarEntries(Counted, Narrowing, Titled):
    """A list of items, of which some may be left out."""


class Page(Counted, Skipping, Titled):
    """A page of a long list of items."""


class PopularPage(Counted, Skipping, Narrowing, Titled):
    """A page of a long list of items, of which some may be left out."""


class Scores(ListedItems, Scored, Titled):
    """The scores of some items."""


class Recommending(Counted, Skipping, Unseen, Excluding, Narrowing, FallingBack, Scored, Titled):
    """Recommendations to users."""


class BatchBody(Recommending):
    """Up to 1000 users, and the options of one user's recommendations; users times n is at most 100,000."""

    users: Annotated[list[Id], Meta(max_length=MAX_IDS, description="Ids of the users to recommend to.")]


class GivenItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An item that someone had, and its weight; a negative weight means a dislike."""

    item_id: Id
    weight: Annotated[float, Meta(ge=-MAX_WEIGHT, le=MAX_WEIGHT)] = 1.0


class AnonymousBody(Counted, Skipping, Excluding, Narrowing, Scored, Titled):
    """1 to 1000 items that someone had, and options; the weights of repeated items add up."""

    items: Annotated[list[GivenItem], Meta(min_length=1, max_length=MAX_IDS)]


class SessionBody(Recommending):
    """Up to 1000 items of a user's session, and options; the weights of repeated items add up."""

    items: Annotated[
        list[GivenItem],
        Meta(max_length=MAX_IDS, description="What the user did just now: it adds to what the user had."),
    ]
    exclude_seen: Annotated[bool, Meta(description="Exclude the user's seen items, and those of the session.")] = True


class VersionBody(Options):
    """One version."""

    model_version: Version


class PercentBody(Options):
    """The percentage of users who get the candidate; null leaves it to the settings."""

    percent: Annotated[float, Meta(ge=0, le=100)] | None


class RollBackBody(Options):
    """The version to return to; by default, the one before the newest."""

    model_version: Version | UnsetType = UNSET


OptionsT = TypeVar("OptionsT", bound=Options)


def within(kind: type[OptionsT], limits: Limits) -> type[OptionsT]:
    """Return the options adapted to a server's limits: its largest n and its defaults."""
    settings = {"n": (Meta(le=limits.max_n), min(DEFAULT_N, limits.max_n)), "fallback": (Meta(), limits.fallback)}
    types = {field.name: field.type for field in msgspec.structs.fields(kind) if field.name in settings}
    if not types:
        return kind
    own: dict[str, Any] = {name: default for name, (_, default) in settings.items() if name in types}
    own["__annotations__"] = {name: Annotated[of, settings[name][0]] for name, of in types.items()}
    made = _Combining(kind.__name__, (kind,), {"__doc__": kind.__doc__, **own})
    return cast("type[OptionsT]", made)


def versioned(kind: type[OptionsT]) -> type[OptionsT]:
    """Return the options with the version that answers."""
    made = _Combining(kind.__name__, (kind, Versioned), {"__doc__": kind.__doc__})
    return cast("type[OptionsT]", made)
