"""Paths and query strings, read strictly: what is unknown, repeated or out of range is refused and named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias
from urllib.parse import unquote_to_bytes

import msgspec
from aiohttp import web
from msgspec import Meta

from service.api.shared import Fallback
from service.errors import BadParameterError
from service.model.factors import Id

DEFAULT_N = 10
#: What lies deeper than this is nobody's recommendation, and to rank it is to sort the catalogue for one request.
MAX_OFFSET = 10_000
#: How many ids one request may list.
MAX_IDS = 1000

_MAX_DIGITS = 9

# A body has the same fields; bodies.py takes their types from here.
N: TypeAlias = Annotated[int, Meta(ge=1, description="How many entries to answer at most.")]
Offset: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_OFFSET, description="How many entries to skip first.")]
ExcludeSeen: TypeAlias = Annotated[bool, Meta(description="Leave out what the user already had.")]
Exclude: TypeAlias = Annotated[list[Id], Meta(max_length=MAX_IDS, description="Items to leave out, too.")]
Unknown: TypeAlias = Annotated[
    Fallback,
    Meta(
        description="What a user gets who is not in the model: popular items, or none (404).",
        extra_json_schema={"type": "string"},
    ),
]
Normalize: TypeAlias = Annotated[
    bool, Meta(description="Map scores to 0…1 by the model's own range of recommended scores, or of popularity.")
]

Titles: TypeAlias = Annotated[bool, Meta(description="Give each item its title, where one is known.")]


class Parameters(msgspec.Struct, kw_only=True):
    """Every parameter of a query: one name has one range, default and meaning, whatever path takes it."""

    n: N = DEFAULT_N
    offset: Offset = 0
    exclude_seen: ExcludeSeen = True
    exclude: Exclude = msgspec.field(default_factory=list)
    fallback: Unknown = "popular"
    normalize: Normalize = False
    titles: Titles = False
    prefix: Annotated[str, Meta(description="What the ids begin with.")] = ""
    items: Annotated[list[Id], Meta(min_length=1, max_length=MAX_IDS, description="The items to score.")]


#: A JSON Schema for each: what reads a query is what describes it.
SCHEMAS: dict[str, dict[str, Any]] = msgspec.json.schema(Parameters)["$defs"]["Parameters"]["properties"]


def n_range(max_n: int) -> dict[str, int]:
    """Return what a server's largest n makes of the schema of n."""
    return {"maximum": max_n, "default": min(DEFAULT_N, max_n)}


def path_id(request: web.Request, name: str) -> str:
    """Return an id in the path as the client meant it. Raises BadParameterError where it is no UTF-8.

    It is decoded from the path as sent: a slash within an id is %2F, a percent sign %25. The ids "." and ".."
    cannot be sent in a path, because clients resolve them even when percent-encoded; the POST forms take them.
    """
    raw = request.rel_url.raw_path
    if "%" not in raw and raw.isascii():
        return request.match_info[name]
    resource = request.match_info.route.resource
    assert resource is not None
    position = resource.canonical.split("/").index(f"{{{name}}}")
    segment = raw.split("/")[position]
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeError:
        raise BadParameterError(
            f"The {name} in the path is not UTF-8; percent-encode the bytes of its UTF-8."
        ) from None


def query_of(request: web.Request, *known: str) -> Query:
    """Return a request's parameters, of which those known may be there. Raises BadParameterError."""
    return Query(request.rel_url.raw_query_string, *known)


class Query:
    """The parameters of one query string, all of them known and none given twice.

    Raises BadParameterError, also from every method, and says which parameter and what is allowed.
    """

    __slots__ = ("_given",)

    def __init__(self, raw: str, *known: str) -> None:
        """``raw`` is the query string as sent."""
        self._given = _parse(raw, known) if raw else {}

    def n(self, max_n: int) -> int:
        """Return how many entries are asked for."""
        return self._integer("n", SCHEMAS["n"] | n_range(max_n))

    def offset(self) -> int:
        """Return how many entries are skipped."""
        return self._integer("offset", SCHEMAS["offset"])

    def flag(self, name: str) -> bool:
        """Return whether the parameter is ``true``."""
        return self._choice(name, str(SCHEMAS[name]["default"]).lower(), ("true", "false")) == "true"

    def titles(self) -> bool:
        """Return whether items are to be answered with their titles."""
        return self.flag("titles")

    def choice(self, name: str, default: str) -> str:
        """Return one of the parameter's choices."""
        return self._choice(name, default, SCHEMAS[name]["enum"])

    def text(self, name: str) -> str:
        """Return any text."""
        text = self._text(name)
        return str(SCHEMAS[name]["default"]) if text is None else text

    def ids(self, name: str) -> list[str]:
        """Return comma-separated ids, in the order given.

        Clients write the separating commas as %2C too, so an id that has a comma itself can only be sent by POST.
        """
        text = self._text(name)
        ids = text.split(",") if text else []
        schema = SCHEMAS[name]
        if len(ids) < schema.get("minItems", 0):
            raise BadParameterError(f"The parameter {name} is missing; give ids, separated by commas.")
        if len(ids) > schema["maxItems"]:
            raise BadParameterError(
                f"The parameter {name} lists {len(ids)} ids; allowed are up to {schema['maxItems']}."
            )
        if "" in ids:
            raise BadParameterError(f"The parameter {name} has an empty id; give ids, separated by commas.")
        return ids

    def _integer(self, name: str, schema: dict[str, Any]) -> int:
        text = self._text(name)
        if text is None:
            return int(schema["default"])
        low, high = schema["minimum"], schema["maximum"]
        if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS and low <= int(text) <= high:
            return int(text)
        raise BadParameterError(f"The parameter {name} is {text!r}; allowed is a whole number from {low} to {high}.")

    def _choice(self, name: str, default: str, choices: Sequence[str]) -> str:
        text = self._text(name)
        if text is None:
            return default
        if text not in choices:
            raise BadParameterError(f"The parameter {name} is {text!r}; allowed is {' or '.join(choices)}.")
        return text

    def _text(self, name: str) -> str | None:
        raw = self._given.get(name)
        return None if raw is None else _decode(raw, f"The parameter {name}")


def _parse(raw: str, known: Sequence[str]) -> dict[str, str]:
    """Return the values as sent, by name."""
    given: dict[str, str] = {}
    for part in filter(None, raw.split("&")):
        name, _, value = part.partition("=")
        name = _decode(name, "A parameter's name")
        if name not in known:
            allowed = f"known are {', '.join(sorted(known))}" if known else "this path takes none"
            raise BadParameterError(f"The parameter {name!r} is not known here; {allowed}.")
        if name in given:
            raise BadParameterError(f"The parameter {name} is given more than once; give it once.")
        given[name] = value
    return given


def _decode(text: str, what: str) -> str:
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode()
    except UnicodeError:
        raise BadParameterError(f"{what} is not UTF-8; percent-encode the bytes of its UTF-8.") from None
