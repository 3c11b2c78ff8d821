"""Handlers for the users of the model: ids, similar users, scores, seen items and explanations."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from aiohttp import web
from msgspec import UNSET

from service.api import answers
from service.api.answers import (
    Explanation,
    ItemScores,
    ScoredUser,
    SimilarUsers,
    UnknownItem,
    UserIds,
    UserItems,
    WeightedItem,
)
from service.api.context import Question
from service.api.decimals import compact
from service.api.handlers.lookups import MICROSECONDS, answered, answered_in_turns, known_item, known_user, titling
from service.api.parameters import Counted, Entries, ListedUsers, Page, Scores
from service.api.query_strings import path_id
from service.api.results import Answer
from service.errors import BadParameterError, NoSeenItemsError
from service.live.generation import Generation
from service.model.factors import Seen
from service.model.model import Model
from service.model.scoring.scoring import Ranked, explain_in_turns, item_scores, similar_users
from service.model.storage.snapshot import Snapshot


async def listed(question: Question[Generation, ListedUsers]) -> web.StreamResponse:
    """List user ids.

    In ascending order, optionally only those with a prefix, or those after an id: a list of any length can be read in
    pages by giving the last id of each page as ``after``.
    """
    snapshot, options = question.generation.snapshot, question.options
    ids = snapshot.model.user_ids
    try:
        listed_rows = ids.starting_with(options.prefix, options.after or None)
    except ValueError:
        raise BadParameterError("The parameter after is not a number, and the user ids of this model are.") from None
    if (hidden := question.generation.assortment.hidden) is not None:
        listed_rows = (row for row in listed_rows if not hidden[row])
    rows = np.fromiter(islice(listed_rows, options.offset, options.offset + options.n), np.int64)
    found = UserIds(snapshot.version, ids.at(rows), question.generation.shown_arm)
    return answers.response(answers.encode(found), snapshot.version)


async def similar(question: Question[Generation, Counted]) -> web.StreamResponse:
    """Find similar users.

    By the cosine similarity of their factors, without the user.
    """
    row = known_user(question.generation, path_id(question, "user"))
    snapshot = question.generation.snapshot
    return await answered(question, lambda: snapshot.manifest.costs.similar_users, _similar, row, question.options.n)


async def scores(question: Question[Generation, Scores]) -> web.StreamResponse:
    """Score items for a user.

    One entry for each item, in the requested order; an unknown item gets an entry with an error.
    """
    generation, options = question.generation, question.options
    row = known_user(generation, path_id(question, "user"))
    asked = len(options.items)
    estimate = asked * MICROSECONDS + titling(generation, asked, wanted=options.titles)
    return await answered(question, lambda: estimate, _scores, row, options)


async def seen(question: Question[Generation, Page]) -> web.StreamResponse:
    """List a user's seen items.

    With the weights used in training, in the model's item order.
    """
    generation, options = question.generation, question.options
    row = known_user(generation, path_id(question, "user"))
    estimate = titling(generation, options.n, wanted=options.titles)
    return await answered(question, lambda: estimate, _seen, row, options)


async def explanation(question: Question[Generation, Entries]) -> web.StreamResponse:
    """Explain a recommendation.

    Lists the user's seen items that contribute to the item's score, and how much each contributes.
    """
    generation, options = question.generation, question.options
    model = generation.snapshot.model
    user_row = known_user(generation, path_id(question, "user"))
    item_row = known_item(model, path_id(question, "item"))
    estimate = _explanation_estimate(generation.snapshot, user_row)
    estimate += titling(generation, options.n, wanted=options.titles)
    return await answered_in_turns(question, estimate, _explanation, user_row, item_row, options)


def _similar(generation: Generation, row: int, n: int) -> Answer:
    snapshot = generation.snapshot
    ids = snapshot.model.user_ids
    hidden = generation.assortment.hidden
    ranked = similar_users(snapshot.model, row, n, eligible=None if hidden is None else ~hidden)
    users = list(map(ScoredUser, ids.at(ranked.rows), compact(ranked.scores)))
    return Answer(answers.encode(SimilarUsers(snapshot.version, ids.of(row), users, generation.shown_arm)))


def _scores(generation: Generation, row: int, options: Scores) -> Answer:
    snapshot, items = generation.snapshot, options.items
    model = snapshot.model
    rows = [model.item_ids.row(item) for item in items]
    known = np.array([item_row for item_row in rows if item_row is not None], np.int32)
    values = answers.model_scores(snapshot, item_scores(model, row, known), normalize=options.normalize)
    scored = iter(answers.scored_items(generation, known, values, titles=options.titles))
    entries = [
        next(scored) if item_row is not None else UnknownItem(model.item_ids.own_form(item))
        for item, item_row in zip(items, rows, strict=True)
    ]
    user, arm = model.user_ids.of(row), generation.shown_arm
    return Answer(answers.encode(ItemScores(snapshot.version, user, entries, arm)))


def _seen(generation: Generation, row: int, options: Page) -> Answer:
    model = generation.snapshot.model
    seen, page = _known_seen(model), slice(options.offset, options.offset + options.n)
    rows = seen.of(row)[page]
    weights = compact(seen.weights_of(row)[page])
    titles = answers.titles_of(generation, rows, wanted=options.titles)
    available = (UNSET if shown else False for shown in generation.assortment.are_available(rows))
    items = list(map(WeightedItem, model.item_ids.at(rows), weights, titles, available))
    user, arm = model.user_ids.of(row), generation.shown_arm
    return Answer(answers.encode(UserItems(generation.version, user, items, arm)))


def _explanation(generation: Generation, user_row: int, item_row: int, options: Entries) -> Iterator[Answer | None]:
    """Yield None after each turn, and the answer after the last."""
    model = generation.snapshot.model
    for found in explain_in_turns(model, user_row, item_row, len(_known_seen(model).of(user_row))):
        yield None if found is None else _explained(generation, user_row, item_row, found, options)


def _explained(generation: Generation, user_row: int, item_row: int, all_items: Ranked, options: Entries) -> Answer:
    model, n = generation.snapshot.model, options.n
    total = compact(all_items.scores.sum(keepdims=True))[0]
    scores = compact(all_items.scores[:n])
    items = answers.scored_items(generation, all_items.rows[:n], scores, titles=options.titles)
    user, item = model.user_ids.of(user_row), model.item_ids.of(item_row)
    title = answers.title_of(generation, item_row, wanted=options.titles)
    arm = generation.shown_arm
    return Answer(answers.encode(Explanation(generation.version, user, item, total, items, title, arm)))


def _explanation_estimate(snapshot: Snapshot, row: int) -> float:
    """Estimate the microseconds for this user: the measured cost, scaled by the user's share of seen items."""
    seen = _known_seen(snapshot.model)
    share = len(seen.of(row)) * len(snapshot.model.user_ids) / max(1, len(seen.items))
    return snapshot.manifest.costs.explain * max(1.0, share)


def _known_seen(model: Model) -> Seen:
    if model.seen is None:
        raise NoSeenItemsError("The served model does not include seen items.")
    return model.seen
