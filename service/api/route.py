"""A route: its method, path and handler, its options, answer and errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec
from aiohttp import hdrs, web

from service.api.context import Context, Ids, Limits, Question
from service.api.hosts import EXEMPT
from service.api.parameters import Anything, Options, versioned, within
from service.errors import (
    AlsServeError,
    BadBodyError,
    BadFilterError,
    BadParameterError,
    BodyTooLargeError,
    EncodedBodyError,
    InsufficientScopeError,
    InvalidBodyError,
    InvalidTokenError,
    LimitedModelError,
    MisdirectedError,
    NoTokenError,
    NotReadyError,
    RequestTimeoutError,
    UnsupportedMediaTypeError,
    VersionGoneError,
)
from service.tokens import Scope

Errors = tuple[type[AlsServeError], ...]
TakenT = TypeVar("TakenT")
AskedT = TypeVar("AskedT", bound=Options)

_OF_A_BODY: Errors = (
    BadBodyError,
    RequestTimeoutError,
    BodyTooLargeError,
    UnsupportedMediaTypeError,
    EncodedBodyError,
    InvalidBodyError,
)
_OF_A_TOKEN: Errors = (NoTokenError, InvalidTokenError, InsufficientScopeError)


@dataclass(frozen=True, slots=True)
class Needs(Generic[TakenT]):
    """What a route needs of the model: how the generation is taken, and the errors if it cannot be."""

    take: Callable[[Context, Ids], TakenT]
    errors: Errors = ()


MODEL = Needs(Context.generation, (NotReadyError,))
FACTORS = Needs(Context.generation_with_factors, (NotReadyError, LimitedModelError))
NOTHING = Needs(lambda _context, _ids: None)


@dataclass(frozen=True, slots=True)
class Route(Generic[TakenT, AskedT]):
    """One operation; a route for GET also answers HEAD. The handler's docstring is the summary and description.

    ``options`` are read from the body of a POST or PUT (``example`` is an example), otherwise from the query; without
    options there is no body. ``name`` is the operationId. ``scope`` is what a token must permit; None opens the route
    to everybody. ``answer`` is an example of a 200's JSON, and its type is the answer's type; for other content,
    ``media`` has the schema by media type instead. ``files`` are the allowed values of ``{file}``. ``tagged``: the
    answer has an ETag, and may be a 304. ``raises`` are the handler's own errors.
    """

    method: str
    path: str
    handler: Callable[[Question[TakenT, AskedT]], Awaitable[web.StreamResponse]]
    needs: Needs[TakenT]
    options: type[AskedT]
    name: str
    tag: str
    scope: Scope | None
    example: AskedT | None = None
    answer: msgspec.Struct | None = None
    media: Mapping[str, object] = field(default_factory=dict)
    files: Collection[str] = ()
    tagged: bool = False
    raises: Errors = ()

    @property
    def has_body(self) -> bool:
        """Whether the options are sent as a body."""
        return self.method in (hdrs.METH_POST, hdrs.METH_PUT) and bool(self.options.__struct_fields__)

    @property
    def is_versioned(self) -> bool:
        """Whether a request may name the version that answers."""
        return self.needs is not NOTHING

    @property
    def query(self) -> type[Options]:
        """The options that are read from the query."""
        options = Options if self.has_body else self.options
        return versioned(options) if self.is_versioned else options

    @property
    def errors(self) -> Errors:
        """All errors that can refuse a request."""
        host: Errors = () if self.path in EXEMPT else (MisdirectedError,)
        token = _OF_A_TOKEN if self.scope else ()
        query: Errors = () if self.options is Anything else (BadParameterError,)
        gone: Errors = (VersionGoneError,) if self.is_versioned else ()
        narrowed: Errors = (BadFilterError,) if "filter" in self.options.__struct_fields__ else ()
        return (
            *host,
            *token,
            *query,
            *narrowed,
            *(_OF_A_BODY if self.has_body else ()),
            *gone,
            *self.needs.errors,
            *self.raises,
        )

    def within(self, limits: Limits) -> Route[TakenT, AskedT]:
        """Return the route adapted to a server's limits."""
        return replace(self, options=within(self.options, limits))


AnyRoute: TypeAlias = Route[Any, Any]
