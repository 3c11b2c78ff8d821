"""Look-ups that handlers share: of answers given before, and of requested ids in one snapshot's model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, TypeVarTuple

import numpy as np
from aiohttp import web

from service.api import answers
from service.api.context import Question
from service.api.queries import Queries
from service.api.results import Answer
from service.api.sending import WholeResponse
from service.errors import UnknownItemError, UnknownUserError
from service.live.generation import Generation
from service.model.factors import Id, Int32
from service.model.model import Model
from service.model.scoring.ranking import NO_ROWS

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")

#: Cost of one look-up in the largest models measured (10 million ids).
MICROSECONDS = 3.0
#: Cost of looking up an entry's id and encoding it as JSON.
ENTRY_MICROSECONDS = 0.5
# Cost of finding and decoding a title among a million.
_TITLE_MICROSECONDS = 1.2
# A query that is likely to take longer gives way to other queries between its turns.
_UNDIVIDED_MICROSECONDS = 10_000


async def answered(
    question: Question[Generation, Any],
    estimate: Callable[[], float],
    function: Callable[[Generation, *Arguments], Answer],
    *arguments: *Arguments,
) -> WholeResponse:
    """Answer with what a function makes of the generation and these arguments, or has made of equal ones before.

    ``estimate`` returns the microseconds that the function is likely to take.
    """
    generation, context = question.generation, question.context
    cache, request = context.caches[generation.arm], (function, *arguments)
    answer = cached = cache.get(generation.number, request)
    if answer is None:
        answer = await context.queries.run(estimate(), function, generation, *arguments)
        cache.put(generation.number, request, answer)
    if answer.listed:
        context.results.count(answer.listed, generation.arm, computed=cached is None)
    return answers.response(answer.body, generation.version)


async def answered_in_turns(
    question: Question[Generation, Any],
    estimate: float,
    function: Callable[[Generation, *Arguments], Iterator[Answer | None]],
    *arguments: *Arguments,
) -> web.StreamResponse:
    """Answer as :func:`answered` does, but let other queries have their turn if this one is likely to take long."""
    if estimate <= _UNDIVIDED_MICROSECONDS:
        return await answered(question, lambda: estimate, _undivided, function, *arguments)
    turns = function(question.generation, *arguments)
    answer = await question.context.queries.run_in_turns(estimate, turns)
    return answers.response(answer.body, question.generation.version)


def _undivided(
    generation: Generation,
    function: Callable[[Generation, *Arguments], Iterator[Answer | None]],
    *arguments: *Arguments,
) -> Answer:
    return _last(function(generation, *arguments))


async def in_turns(queries: Queries, estimate: float, turns: Iterator[Result | None]) -> Result:
    """Return the first that ``turns`` yields other than None, undivided if it is not likely to take long."""
    if estimate <= _UNDIVIDED_MICROSECONDS:
        return await queries.run(estimate, _last, turns)
    return await queries.run_in_turns(estimate, turns)


def _last(turns: Iterator[Result | None]) -> Result:
    return next(result for result in turns if result is not None)


def known_user(generation: Generation, asked: Id) -> int:
    """Return a user's row. Raises UnknownUserError, also for a hidden user."""
    row = generation.user_row(asked)
    if row is None:
        raise UnknownUserError(f"The user {asked!r} is not in the served model.")
    return row


def known_item(model: Model, asked: Id) -> int:
    """Return an item's row. Raises UnknownItemError."""
    row = model.item_ids.row(asked)
    if row is None:
        raise UnknownItemError(f"The item {asked!r} is not in the served model.")
    return row


def item_rows(model: Model, asked: Sequence[Id]) -> Int32:
    """Return the rows of the items that the model knows, int32, in the requested order."""
    if not asked:
        return NO_ROWS
    rows = map(model.item_ids.row, asked)
    return np.array([row for row in rows if row is not None], np.int32)


def titling(generation: Generation, items: int, *, wanted: bool) -> float:
    """Estimate the microseconds for the titles of this many items, 0 if they are not wanted."""
    catalog = generation.assortment.catalog
    return items * _TITLE_MICROSECONDS if wanted and catalog is not None and catalog.titles is not None else 0.0
