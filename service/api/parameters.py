"""Paths and query strings, read strictly: what is unknown, repeated or out of range is refused and named."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from aiohttp import web

from service.errors import BadParameterError

DEFAULT_N = 10
#: What lies deeper than this is nobody's recommendation, and to rank it is to sort the catalogue for one request.
MAX_OFFSET = 10_000
#: How many ids one request may list.
MAX_IDS = 1000

_MAX_DIGITS = 9


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

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """Return a whole number from ``low`` to ``high``."""
        text = self._text(name)
        if text is None:
            return default
        if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS and low <= int(text) <= high:
            return int(text)
        raise BadParameterError(f"The parameter {name} is {text!r}; allowed is a whole number from {low} to {high}.")

    def n(self, max_n: int) -> int:
        """Return how many entries are asked for."""
        return self.integer("n", min(DEFAULT_N, max_n), 1, max_n)

    def offset(self) -> int:
        """Return how many entries are skipped."""
        return self.integer("offset", 0, 0, MAX_OFFSET)

    def flag(self, name: str, *, default: bool) -> bool:
        """Return whether the parameter is ``true``."""
        return self.choice(name, "true" if default else "false", ("true", "false")) == "true"

    def choice(self, name: str, default: str, choices: Sequence[str]) -> str:
        """Return one of ``choices``."""
        text = self._text(name)
        if text is None:
            return default
        if text not in choices:
            raise BadParameterError(f"The parameter {name} is {text!r}; allowed is {' or '.join(choices)}.")
        return text

    def ids(self, name: str) -> list[str]:
        """Return comma-separated ids, in the order given.

        Clients write the separating commas as %2C too, so an id that has a comma itself can only be sent by POST.
        """
        text = self._text(name)
        ids = text.split(",") if text else []
        if len(ids) > MAX_IDS:
            raise BadParameterError(f"The parameter {name} lists {len(ids)} ids; allowed are up to {MAX_IDS}.")
        return ids

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
