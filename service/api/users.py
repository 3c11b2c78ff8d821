"""About one user of the model: who is alike, how items score, what the user had, and why an item is recommended."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from aiohttp import web

from service.api import answers
from service.api.answers import (
    Explanation,
    ItemScores,
    ScoredItem,
    ScoredUser,
    SimilarUsers,
    UnknownItem,
    UserItems,
    WeightedItem,
)
from service.api.keys import LIMITS, QUERIES, served, served_with_factors
from service.api.lookups import MICROSECONDS, known_item, known_user
from service.api.parameters import path_id, query_of
from service.errors import NoSeenItemsError
from service.model.factors import Id, Seen
from service.model.ordering import Model
from service.model.scoring import explain, item_scores, similar_users
from service.model.snapshot import Snapshot


async def similar(request: web.Request) -> web.Response:
    """Find the users most like one.

    By the cosine of their factors; the user is left out.
    """
    snapshot = served_with_factors(request)
    n = query_of(request, "n").n(request.app[LIMITS].max_n)
    row = known_user(snapshot.model, path_id(request, "user"))
    estimate = snapshot.manifest.costs.similar_users
    body = await request.app[QUERIES].run(estimate, _similar, snapshot, row, n)
    return answers.response(body, snapshot.version)


async def scores(request: web.Request) -> web.Response:
    """Score items for a user.

    There is one entry for each item, in the order asked; for one that the model does not know, it is an error.
    """
    snapshot = served_with_factors(request)
    query = query_of(request, "items", "normalize")
    items = query.ids("items")
    normalize = query.flag("normalize")
    row = known_user(snapshot.model, path_id(request, "user"))
    estimate = len(items) * MICROSECONDS
    body = await request.app[QUERIES].run(estimate, _scores, snapshot, row, items, normalize)
    return answers.response(body, snapshot.version)


async def seen(request: web.Request) -> web.Response:
    """List what a user already had.

    With the weights that the model learnt from, in the model's order of items.
    """
    snapshot = served(request)
    query = query_of(request, "n", "offset")
    n, offset = query.n(request.app[LIMITS].max_n), query.offset()
    row = known_user(snapshot.model, path_id(request, "user"))
    return answers.response(_seen(snapshot, row, slice(offset, offset + n)), snapshot.version)


async def explanation(request: web.Request) -> web.Response:
    """Say why an item suits a user.

    Which of the items that the user had speak for this one, and how much each adds to its score.
    """
    snapshot = served_with_factors(request)
    n = query_of(request, "n").n(request.app[LIMITS].max_n)
    user_row = known_user(snapshot.model, path_id(request, "user"))
    item_row = known_item(snapshot.model, path_id(request, "item"))
    estimate = _explanation_estimate(snapshot, user_row)
    body = await request.app[QUERIES].run(estimate, _explanation, snapshot, user_row, item_row, n)
    return answers.response(body, snapshot.version)


def _similar(snapshot: Snapshot, row: int, n: int) -> bytes:
    ids = snapshot.model.user_ids
    ranked = similar_users(snapshot.model, row, n)
    users = list(map(ScoredUser, ids.at(ranked.rows), answers.compact(ranked.scores)))
    return answers.encode(SimilarUsers(snapshot.version, ids.of(row), users))


def _scores(snapshot: Snapshot, row: int, items: Sequence[Id], normalize: bool) -> bytes:
    model = snapshot.model
    rows = [model.item_ids.row(item) for item in items]
    known = np.array([item_row for item_row in rows if item_row is not None], np.int32)
    values = iter(answers.model_scores(snapshot, item_scores(model, row, known), normalize=normalize))
    entries = [
        UnknownItem(item) if item_row is None else ScoredItem(model.item_ids.of(item_row), next(values))
        for item, item_row in zip(items, rows, strict=True)
    ]
    return answers.encode(ItemScores(snapshot.version, model.user_ids.of(row), entries))


def _seen(snapshot: Snapshot, row: int, page: slice) -> bytes:
    model = snapshot.model
    seen = _known_seen(model)
    ids = model.item_ids.at(seen.of(row)[page])
    items = list(map(WeightedItem, ids, answers.compact(seen.weights_of(row)[page])))
    return answers.encode(UserItems(snapshot.version, model.user_ids.of(row), items))


def _explanation(snapshot: Snapshot, user_row: int, item_row: int, n: int) -> bytes:
    model = snapshot.model
    all_items = explain(model, user_row, item_row, len(_known_seen(model).of(user_row)))
    total = answers.compact(all_items.scores.sum(keepdims=True))[0]
    items = answers.scored_items(snapshot, all_items.rows[:n], answers.compact(all_items.scores[:n]))
    user, item = model.user_ids.of(user_row), model.item_ids.of(item_row)
    return answers.encode(Explanation(snapshot.version, user, item, total, items))


def _explanation_estimate(snapshot: Snapshot, row: int) -> float:
    """Return the microseconds for this user: what was measured, times how much more than others the user had."""
    seen = _known_seen(snapshot.model)
    share = len(seen.of(row)) * len(snapshot.model.user_ids) / max(1, len(seen.items))
    return snapshot.manifest.costs.explain * max(1.0, share)


def _known_seen(model: Model) -> Seen:
    if model.seen is None:
        raise NoSeenItemsError("The served model does not carry what users already had.")
    return model.seen
