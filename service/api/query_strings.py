"""Strict parsing of paths and query strings: unknown, repeated or out-of-range parameters are refused by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import lru_cache
from math import inf, isfinite
from typing import Any, Generic, TypeAlias
from urllib.parse import unquote_to_bytes

from msgspec import inspect

from service.api.context import Question
from service.api.parameters import OptionsT
from service.errors import BadParameterError

#: Reads the text of a parameter by its name.
Reader: TypeAlias = Callable[[str, str], Any]

_WHOLE_NUMBER = re.compile(r"([0-9]{1,9})(\.0{1,9})?")  # 1.0 is an integer, as JSON Schema has it
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?([eE][-+]?[0-9]{1,3})?")
#: What an id in a list does not begin or end with; the API's document has it as a pattern.
BLANKS = " \t\n\r\v\f"
_LONGEST_SHOWN = 80
_TRUTH = {"true": True, "false": False}


def path_id(question: Question[Any, Any], name: str) -> str:
    """Return an id in the path, decoded. Raises BadParameterError if it is not UTF-8.

    The path is decoded as sent: a slash within an id is %2F, a percent sign %25. The ids "." and ".." cannot be sent in
    a path, because clients resolve them even when percent-encoded; the POST forms accept them.
    """
    text = question.ids[name]
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeError:
        raise BadParameterError(f"The {name} in the path is not UTF-8; percent-encode its UTF-8 bytes.") from None
    return text


class QueryReader(Generic[OptionsT]):
    """Parses query strings into one struct of options, by the types and defaults of its fields."""

    def __init__(self, kind: type[OptionsT]) -> None:
        described = inspect.type_info(kind)
        assert isinstance(described, inspect.StructType)
        self._kind = kind
        self._readers = {field.name: _reader(field.type) for field in described.fields}
        self._lists = {field.name for field in described.fields if _is_list(field.type)}
        self._required = {field.name for field in described.fields if field.required}
        #: Parses a query string as sent; cached, because most are repeated. Raises BadParameterError.
        self.read: Callable[[str], OptionsT] = lru_cache(self._read)

    def _read(self, raw: str) -> OptionsT:
        given = _parse(raw, self._readers, self._lists)
        return self._kind(
            **{
                name: read(name, _decode(given.get(name, ""), f"The parameter {name}"))
                for name, read in self._readers.items()
                if name in given or name in self._required
            }
        )


def _reader(kind: inspect.Type) -> Reader:
    """Return the reader for a parameter of this type."""
    match kind:
        case inspect.Metadata():
            return _reader(kind.type)
        case inspect.IntType() | inspect.FloatType():
            return _number(kind)
        case inspect.BoolType():
            return lambda name, text: _TRUTH[_one_of(_TRUTH, name, text)]
        case inspect.LiteralType():
            choices = tuple(map(str, kind.values))
            return lambda name, text: _one_of(choices, name, text)
        case inspect.VarTupleType():
            return _ids(kind)
    assert isinstance(kind, inspect.StrType), f"A query parameter of the type {kind} is not supported yet."
    return lambda _, text: text


def _number(kind: inspect.IntType | inspect.FloatType) -> Reader:
    whole, low, high = isinstance(kind, inspect.IntType), kind.ge, kind.le
    form, number = (_WHOLE_NUMBER, _whole) if whole else (_NUMBER, float)
    bounds = [f" from {low}"] * (low is not None) + [f" to {high}"] * (high is not None)
    allowed = f"a {'whole ' * whole}number{''.join(bounds)}"

    def read(name: str, text: str) -> float:
        given = number(text) if form.fullmatch(text) else inf
        if isfinite(given) and (low is None or low <= given) and (high is None or given <= high):
            return given
        raise BadParameterError(f"The parameter {name} is {_shown(text)}; it must be {allowed}.")

    return read


def _whole(text: str) -> int:
    return int(text.partition(".")[0])


def _one_of(choices: Collection[str], name: str, text: str) -> str:
    if text not in choices:
        raise BadParameterError(f"The parameter {name} is {_shown(text)}; it must be {' or '.join(choices)}.")
    return text


def _ids(kind: inspect.VarTupleType) -> Reader:
    """Return the reader for comma-separated ids, which keeps their order.

    Clients also encode the separating commas as %2C, so an id that contains a comma can only be sent by POST.
    """
    fewest, most = kind.min_length or 0, kind.max_length

    def read(name: str, text: str) -> tuple[str, ...]:
        ids = tuple(text.split(",")) if text else ()
        if len(ids) < fewest:
            raise BadParameterError(f"The parameter {name} is missing; give ids separated by commas.")
        if most is not None and len(ids) > most:
            raise BadParameterError(f"The parameter {name} lists {len(ids)} ids; at most {most} are allowed.")
        if "" in ids:
            raise BadParameterError(f"The parameter {name} has an empty id; give ids separated by commas.")
        if blank := next((each for each in ids if each != each.strip(BLANKS)), None):
            raise BadParameterError(
                f"The parameter {name} has the id {blank!r} with a blank at an end; separate ids by commas alone."
            )
        return ids

    return read


def _is_list(kind: inspect.Type) -> bool:
    return isinstance(kind.type if isinstance(kind, inspect.Metadata) else kind, inspect.VarTupleType)


def _parse(raw: str, known: Collection[str], lists: Collection[str]) -> dict[str, str]:
    """Return the values as sent, by name; a list may be given in parts, as many clients do."""
    given: dict[str, str] = {}
    for part in filter(None, raw.split("&")):
        name, _, value = part.partition("=")
        name = _decode(name, "A parameter's name")
        if name not in known:
            allowed = f"allowed: {', '.join(sorted(known))}" if known else "this path takes no parameters"
            raise BadParameterError(f"The parameter {_shown(name)} is unknown here; {allowed}.")
        if name in given and name in lists:
            value = f"{given[name]},{value}"
        elif name in given:
            raise BadParameterError(f"The parameter {name} is given more than once; give it once.")
        given[name] = value
    return given


def _shown(text: str) -> str:
    """Quote a client's text, shortened so that what follows is not lost."""
    return repr(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…")


def _decode(text: str, what: str) -> str:
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode()
    except UnicodeError:
        raise BadParameterError(f"{what} is not UTF-8; percent-encode its UTF-8 bytes.") from None
