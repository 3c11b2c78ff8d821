"""What a request may say besides its path: each option once, with its type, range, default and description.

One field of one struct is a whole option: query strings and bodies are read by it, the API's document describes it, and
handlers are given it. A struct that inherits from several has the options of each, in their order.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar, cast, dataclass_transform

import msgspec
from msgspec import Meta, StructMeta

from service.api.context import Fallback, Limits
from service.model.factors import Id

DEFAULT_N = 10
#: What lies deeper than this is nobody's recommendation, and to rank it is to sort the catalogue for one request.
MAX_OFFSET = 10_000
#: How many ids one request may list.
MAX_IDS = 1000
#: Training data weighs by plays, purchases, minutes: far below this, and its square still is a float32.
MAX_WEIGHT = 1e6


class _Combining(StructMeta):
    """Gives a struct the fields of several: msgspec allows one base that has fields, so those of the others are copied.

    The struct is then an instance of its first base alone, although type checkers see all of them. A default has to be
    a value: a factory is not copied.
    """

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **config: Any) -> _Combining:
        copied = [field for base in bases[1:] for field in msgspec.structs.fields(base)]
        types = {field.name: field.type for field in copied}
        defaults = {field.name: field.default for field in copied if not field.required}
        namespace["__annotations__"] = types | namespace.get("__annotations__", {})
        return super().__new__(mcls, name, bases[:1], defaults | namespace, kw_only=True, **config)


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Options(msgspec.Struct, metaclass=_Combining, frozen=True, forbid_unknown_fields=True):
    """The options of a request. This struct has none: a request that takes these takes no parameters."""


class Anything(Options):
    """Any query: it is not read, and so not refused either."""


class Counted(Options):
    """How much is answered. A server may set a lower limit, and so another default."""

    n: Annotated[int, Meta(ge=1, description="How many entries to answer at most.")] = DEFAULT_N


class Skipping(Options):
    """Where an answer begins."""

    offset: Annotated[int, Meta(ge=0, le=MAX_OFFSET, description="How many entries to skip first.")] = 0


class Unseen(Options):
    """Whether a user is shown again what they had."""

    exclude_seen: Annotated[bool, Meta(description="Leave out what the user already had.")] = True


class Excluding(Options):
    """Which items are left out."""

    exclude: Annotated[tuple[Id, ...], Meta(max_length=MAX_IDS, description="Items to leave out, too.")] = ()


class FallingBack(Options):
    """What someone unknown gets. The default is a server's own."""

    fallback: Annotated[
        Fallback,
        Meta(
            description="What a user gets who is not in the model: popular items, or none (404).",
            extra_json_schema={"type": "string"},
        ),
    ] = "popular"


class Scored(Options):
    """What scores are answered."""

    normalize: Annotated[
        bool, Meta(description="Map scores to 0…1 by the model's own range of recommended scores, or of popularity.")
    ] = False


class Titled(Options):
    """What an answer has for each item."""

    titles: Annotated[bool, Meta(description="Give each item its title, where one is known.")] = False


class ListedItems(Options):
    """Which items are asked about."""

    items: Annotated[tuple[Id, ...], Meta(min_length=1, max_length=MAX_IDS, description="The items to score.")]


class ListedUsers(Counted, Skipping):
    """Which users are listed."""

    prefix: Annotated[str, Meta(description="What the ids begin with.")] = ""


class Entries(Counted, Titled):
    """A list of items."""


class Page(Counted, Skipping, Titled):
    """A part of a long list of items."""


class Scores(ListedItems, Scored, Titled):
    """The scores of some items."""


class Recommending(Counted, Skipping, Unseen, Excluding, FallingBack, Scored, Titled):
    """Recommendations to users."""


class BatchBody(Recommending):
    """Up to 1000 users, and options as in the query of one user's recommendations; users times n is up to 100,000."""

    users: Annotated[list[Id], Meta(max_length=MAX_IDS, description="Whom to recommend to.")]


class GivenItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An item that an anonymous user had, and how much it counts; a negative weight says it is not liked."""

    item_id: Id
    weight: Annotated[float, Meta(ge=-MAX_WEIGHT, le=MAX_WEIGHT)] = 1.0


class AnonymousBody(Counted, Skipping, Excluding, Scored, Titled):
    """1 to 1000 items that someone had, and options; the weights of one that is named twice add up."""

    items: Annotated[list[GivenItem], Meta(min_length=1, max_length=MAX_IDS)]


OptionsT = TypeVar("OptionsT", bound=Options)


def within(kind: type[OptionsT], limits: Limits) -> type[OptionsT]:
    """Return the options as a server with these limits takes them: its largest n, and its defaults."""
    settings = {"n": (Meta(le=limits.max_n), min(DEFAULT_N, limits.max_n)), "fallback": (Meta(), limits.fallback)}
    types = {field.name: field.type for field in msgspec.structs.fields(kind) if field.name in settings}
    if not types:
        return kind
    own: dict[str, Any] = {name: default for name, (_, default) in settings.items() if name in types}
    own["__annotations__"] = {name: Annotated[of, settings[name][0]] for name, of in types.items()}
    made = _Combining(kind.__name__, (kind,), {"__doc__": kind.__doc__, **own})
    return cast("type[OptionsT]", made)
