"""Look-ups that handlers share: of answers given before, and of requested ids in one snapshot's model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVarTuple

import numpy as np
from aiohttp import web

from service.api import answers
from service.api.answers import Answer
from service.api.context import Question
from service.errors import UnknownItemError, UnknownUserError
from service.live.generation import Generation
from service.model.factors import Id, Int32
from service.model.model import Model
from service.model.scoring.ranking import NO_ROWS

Arguments = TypeVarTuple("Arguments")

#: Cost of one look-up in the largest models measured (10 million ids).
MICROSECONDS = 3.0
# Cost of finding and decoding a title among a million.
_TITLE_MICROSECONDS = 1.2


async def answered(
    question: Question[Generation, Any],
    estimate: Callable[[], float],
    function: Callable[[Generation, *Arguments], Answer],
    *arguments: *Arguments,
) -> web.StreamResponse:
    """Answer with what a function makes of the generation and these arguments, or has made of equal ones before.

    ``estimate`` returns the microseconds that the function is likely to take.
    """
    generation, context = question.generation, question.context
    request = (function, *arguments)
    answer = cached = context.cache.get(generation.number, request)
    if answer is None:
        answer = await context.queries.run(estimate(), function, generation, *arguments)
        context.cache.put(generation.number, request, answer)
    if answer.listed:
        context.results.count(answer.listed, computed=cached is None)
    return answers.response(answer.body, generation.version)


def known_user(model: Model, asked: Id) -> int:
    """Return a user's row. Raises UnknownUserError."""
    row = model.user_ids.row(asked)
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
    return items * _TITLE_MICROSECONDS if wanted and generation.titles else 0.0
