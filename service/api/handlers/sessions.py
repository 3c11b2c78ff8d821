"""The handler for recommendations in a session: what a user had, and what they did just now, folded in together."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from aiohttp import web

from service.api import answers
from service.api.answers import SessionRecommendations, Strategy, UserResult
from service.api.context import Question
from service.api.handlers.eligibility import Candidates, candidates, described
from service.api.handlers.lookups import in_turns
from service.api.handlers.recommendations import folding_estimate, known_items, popular_result, result_of
from service.api.parameters import SessionBody
from service.api.query_strings import path_id
from service.api.results import Answer, Listed
from service.live.generation import Generation
from service.model.factors import Float32, Id, Int32
from service.model.scoring.scoring import fold_in_turns, top_n


async def for_session(question: Question[Generation, SessionBody]) -> web.StreamResponse:
    """Recommend items to a user in a session.

    The weights of ``items`` are added to those of what the user had, and the user's factors are computed from all of
    them, as in training; nothing is stored. ``strategy`` is ``session``, or ``fold_in`` if only the session is known:
    for a user who is not in the model, or if the model has no seen items. Items that the model does not know are
    ignored and listed in ``unknown_items``; if it knows none of them, the answer is the one without a session.
    """
    generation, options = question.generation, question.options
    user = path_id(question, "user")
    had = _had(generation, user)
    estimate = folding_estimate(generation, options, len(options.items) + (0 if had is None else len(had[0])))
    answer = await in_turns(question.context.queries, estimate, _turns(generation, user, had, options))
    if answer.listed:
        question.context.results.count(answer.listed, generation.arm)
    return answers.response(answer.body, generation.version)


def _had(generation: Generation, user: Id) -> tuple[Int32, Float32] | None:
    """Return the rows and weights of what a user had, None if that is unknown."""
    row, seen = generation.user_row(user), generation.snapshot.model.seen
    return None if row is None or seen is None else (seen.of(row), seen.weights_of(row))


def _turns(
    generation: Generation, user: Id, had: tuple[Int32, Float32] | None, options: SessionBody
) -> Iterator[Answer | None]:
    """Yield None after each turn, and the answer after the last. Raises UnknownUserError if there is no fallback."""
    model = generation.snapshot.model
    items, weights, unknown = known_items(model, options.items)
    among = candidates(generation, options, options.exclude)
    if model.limited or not len(items):
        among = among.without(items) if options.exclude_seen else among
        yield _answer(generation, *result_of(generation, user, options, among), unknown)
        return
    if had:
        items, weights = np.concatenate((had[0], items)), np.concatenate((had[1], weights))
    among = among.without(items) if options.exclude_seen else among
    strategy: Strategy = "session" if had else "fold_in"
    for vector in fold_in_turns(model, items, weights):
        if vector is None:
            yield None
        else:
            yield _answer(generation, *_found(generation, user, strategy, vector, options, among), unknown)


def _found(
    generation: Generation, user: Id, strategy: Strategy, vector: Float32, options: SessionBody, among: Candidates
) -> tuple[UserResult, Listed]:
    """Recommend by these factors, or what is popular if they are all 0, as after dislikes alone."""
    model = generation.snapshot.model
    if not vector.any() and options.fallback != "none" and model.popularity:
        return popular_result(generation, user, options, among)
    to_vector = partial(top_n, model, vector, without=np.unique(among.exclude))
    ranked = among.best(to_vector, options.n, options.offset)
    scores = answers.model_scores(generation.snapshot, ranked.scores, normalize=options.normalize)
    items = answers.scored_items(generation, ranked.rows, scores, titles=options.titles, min_score=options.min_score)
    return UserResult(model.user_ids.own_form(user), strategy, items), described(strategy, ranked, items, options)


def _answer(generation: Generation, result: UserResult, listed: Listed, unknown: list[Id]) -> Answer:
    user, strategy, arm = result.user_id, result.strategy, generation.shown_arm
    shaped = SessionRecommendations(generation.version, user, strategy, result.items, unknown, arm)
    return Answer(answers.encode(shaped), listed)
