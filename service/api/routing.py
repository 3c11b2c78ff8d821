"""Finds the route of a request, and parses the request as the route says before its handler is called.

aiohttp's own router tries one path after another, and builds several objects for each request; this takes one look-up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import wraps
from operator import itemgetter
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

import msgspec
from aiohttp import hdrs, web
from msgspec import UNSET

from service.api.answers import MODEL_VERSION
from service.api.bodies import read_body
from service.api.context import Context, Handler, Ids, Question, checked_version, with_factors
from service.api.cors import allowing, preflight
from service.api.instrument import Instrument, Instrumented
from service.api.parameters import Anything
from service.api.query_strings import QueryReader
from service.api.route import FACTORS, AnyRoute
from service.api.tokens import Access, guarded

#: The ``route`` of a request with an unknown path or method, so that clients cannot invent labels.
UNMATCHED = "unmatched"

Methods: TypeAlias = dict[str, Instrumented]


@dataclasses.dataclass(frozen=True, slots=True)
class _Shape:
    """The paths that have their ids in the same segments.

    places: the places of the segments with ids. fixed: takes the other segments, by which ``paths`` has the names of
    the ids, and the handlers by method.
    """

    places: tuple[int, ...]
    fixed: Callable[[Sequence[str]], tuple[str, ...]]
    paths: dict[tuple[str, ...], tuple[tuple[str, ...], Methods]] = dataclasses.field(default_factory=dict)


class Router:
    """Calls the handlers of one API's routes; where there is no route, the answer is an error."""

    def __init__(
        self,
        routes: Iterable[AnyRoute],
        instrument: Instrument,
        access: Access | None = None,
        origins: frozenset[str] = frozenset(),
    ) -> None:
        """``access`` admits requests by their tokens, if there are any; pages of the ``origins`` may read answers."""
        self._instrument = instrument
        #: By number of segments, in the order of the routes.
        self._shapes: dict[int, list[_Shape]] = {}
        unmatched = self._preflight if origins else self._refuse_unmatched
        self._refuse = allowing(origins, instrument.wrap(UNMATCHED, unmatched))
        for route in routes:
            answer = _answering_body(route) if route.has_body else _answering_query(route)
            self._add(route, allowing(origins, instrument.wrap(route.path, guarded(answer, route.scope, access))))

    def refuse_unreadable(self, error: Exception) -> web.StreamResponse:
        """Answer what cannot be read as a request."""
        return self._instrument.refuse_unreadable(UNMATCHED, error)

    def answer(self, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        """Answer a request."""
        # Not a coroutine itself, because that would be one more for every request.
        ids, methods = self._find(request)
        return methods.get(request.method, self._refuse)(request, ids)

    def _find(self, request: web.BaseRequest) -> tuple[Ids, Methods]:
        segments = _segments(request)
        for shape in self._shapes.get(len(segments), ()):
            if found := shape.paths.get(shape.fixed(segments)):
                names, methods = found
                ids = {name: segments[place] for name, place in zip(names, shape.places, strict=True)}
                if all(ids.values()):
                    return ids, methods
        return {}, {}

    def _add(self, route: AnyRoute, handler: Instrumented) -> None:
        segments = route.path.split("/")
        places = tuple(place for place, segment in enumerate(segments) if segment.startswith("{"))
        shape = self._shape(len(segments), places)
        names = tuple(segments[place].strip("{}") for place in places)
        _, methods = shape.paths.setdefault(shape.fixed(segments), (names, {}))
        methods[route.method] = handler
        if route.method == hdrs.METH_GET:
            methods[hdrs.METH_HEAD] = handler

    def _shape(self, segments: int, places: tuple[int, ...]) -> _Shape:
        shapes = self._shapes.setdefault(segments, [])
        for shape in shapes:
            if shape.places == places:
                return shape
        shapes.append(_Shape(places, itemgetter(*sorted({*range(segments)} - {*places}))))
        return self._shape(segments, places)

    async def _preflight(self, request: web.BaseRequest, context: Context, ids: Ids) -> web.StreamResponse:
        """Answer a browser that asks whether a page may make a request; else as _refuse_unmatched."""
        if request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers:
            return preflight(self._find(request)[1])
        return await self._refuse_unmatched(request, context, ids)

    async def _refuse_unmatched(self, request: web.BaseRequest, _context: Context, _ids: Ids) -> web.Response:
        """Raise HTTPMethodNotAllowed if the path has other methods, else HTTPNotFound."""
        _, methods = self._find(request)
        raise web.HTTPMethodNotAllowed(request.method, methods) if methods else web.HTTPNotFound()


def _segments(request: web.BaseRequest) -> Sequence[str]:
    """Return the segments of a path, each decoded: a slash within an id is sent as %2F.

    Bytes that are not UTF-8 become surrogates, which no fixed segment contains, and which ``path_id`` refuses.
    """
    raw = request.rel_url.raw_path
    segments = raw.split("/")
    if "%" not in raw and raw.isascii():
        return segments
    return [
        unquote_to_bytes(segment.encode(errors="surrogateescape")).decode(errors="surrogateescape")
        for segment in segments
    ]


def _answering_query(route: AnyRoute) -> Handler:
    take, handler, is_versioned = route.needs.take, route.handler, route.is_versioned
    read = _ignore if route.options is Anything else QueryReader(route.query).read

    @wraps(handler)
    def answer(request: web.BaseRequest, context: Context, ids: Ids) -> Awaitable[web.StreamResponse]:
        # The handler's own coroutine is returned, because awaiting it here would add a coroutine to every request.
        options = read(request.rel_url.raw_query_string)
        if is_versioned and _names_version(request, options):
            return _answer_from_version(route, Question(request, context, ids, None, options), options)
        return handler(Question(request, context, ids, take(context, ids), options))

    return answer


def _names_version(request: web.BaseRequest, query: Any) -> bool:
    """Return whether a request names the version that answers, in the query or in a header."""
    return query.model_version is not UNSET or MODEL_VERSION in request.headers


async def _answer_from_version(route: AnyRoute, question: Question[Any, Any], query: Any) -> web.StreamResponse:
    """Answer from the version that a request names; the query goes before the header.

    Raises BadParameterError, VersionGoneError, LimitedModelError.
    """
    versions = [query.model_version, question.request.headers.get(MODEL_VERSION, UNSET)]
    named = [checked_version(version) for version in versions if version is not UNSET]
    generation = await question.context.generation_of(named[0])
    if route.needs is FACTORS:
        generation = with_factors(generation)
    if route.has_body:  # these may be for users of both arms
        generation = generation.for_everybody()
    return await route.handler(msgspec.structs.replace(question, generation=generation))


def _answering_body(route: AnyRoute) -> Handler:
    take, handler, decoder = route.needs.take, route.handler, msgspec.json.Decoder(route.options)
    read = QueryReader(route.query).read

    @wraps(handler)
    async def answer(request: web.BaseRequest, context: Context, ids: Ids) -> web.StreamResponse:
        query = read(request.rel_url.raw_query_string)
        options = await read_body(request, decoder, context, route.example)
        if route.is_versioned and _names_version(request, query):
            return await _answer_from_version(route, Question(request, context, ids, None, options), query)
        return await handler(Question(request, context, ids, take(context, ids), options))

    return answer


def _ignore(_: str) -> Anything:
    return Anything()
