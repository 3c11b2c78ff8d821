"""About one user of the model: who is alike, how items score, what the user had, and why an item is recommended."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
from aiohttp import web

from service.api import answers
from service.api.answers import (
    Explanation,
    ItemScores,
    ScoredUser,
    SimilarUsers,
    UnknownItem,
    UserItems,
    Users,
    WeightedItem,
)
from service.api.lookups import MICROSECONDS, known_item, known_user, titling
from service.api.parameters import path_id, query_of
from service.api.shared import Shared
from service.errors import NoSeenItemsError
from service.model.factors import Id, Seen
from service.model.model import Model
from service.model.scoring.scoring import explain, item_scores, similar_users
from service.model.storage.snapshot import Snapshot


async def listed(request: web.Request, shared: Shared) -> web.Response:
    """List the ids of users.

    In order; those that begin with a prefix, if one is given.
    """
    snapshot = shared.snapshot()
    query = query_of(request, "n", "offset", "prefix")
    n, offset = query.n(shared.limits.max_n), query.offset()
    ids = snapshot.model.user_ids
    rows = np.fromiter(islice(ids.starting_with(query.text("prefix")), offset, offset + n), np.int64)
    return answers.response(answers.encode(Users(snapshot.version, ids.at(rows))), snapshot.version)


async def similar(request: web.Request, shared: Shared) -> web.Response:
    """Find the users most like one.

    By the cosine of their factors; the user is left out.
    """
    snapshot = shared.snapshot_with_factors()
    n = query_of(request, "n").n(shared.limits.max_n)
    row = known_user(snapshot.model, path_id(request, "user"))
    estimate = snapshot.manifest.costs.similar_users
    body = await shared.queries.run(estimate, _similar, snapshot, row, n)
    return answers.response(body, snapshot.version)


async def scores(request: web.Request, shared: Shared) -> web.Response:
    """Score items for a user.

    There is one entry for each item, in the order asked; for one that the model does not know, it is an error.
    """
    snapshot = shared.snapshot_with_factors()
    query = query_of(request, "items", "normalize", "titles")
    items = query.ids("items")
    normalize = query.flag("normalize")
    snapshot = shared.titled(snapshot, query.titles())
    row = known_user(snapshot.model, path_id(request, "user"))
    estimate = len(items) * MICROSECONDS + titling(snapshot, len(items))
    body = await shared.queries.run(estimate, _scores, snapshot, row, items, normalize)
    return answers.response(body, snapshot.version)


async def seen(request: web.Request, shared: Shared) -> web.Response:
    """List what a user already had.

    With the weights that the model learnt from, in the model's order of items.
    """
    snapshot = shared.snapshot()
    query = query_of(request, "n", "offset", "titles")
    n, offset = query.n(shared.limits.max_n), query.offset()
    snapshot = shared.titled(snapshot, query.titles())
    row = known_user(snapshot.model, path_id(request, "user"))
    page = slice(offset, offset + n)
    body = await shared.queries.run(titling(snapshot, n), _seen, snapshot, row, page)
    return answers.response(body, snapshot.version)


async def explanation(request: web.Request, shared: Shared) -> web.Response:
    """Say why an item suits a user.

    Which of the items that the user had speak for this one, and how much each adds to its score.
    """
    snapshot = shared.snapshot_with_factors()
    query = query_of(request, "n", "titles")
    n = query.n(shared.limits.max_n)
    snapshot = shared.titled(snapshot, query.titles())
    user_row = known_user(snapshot.model, path_id(request, "user"))
    item_row = known_item(snapshot.model, path_id(request, "item"))
    estimate = _explanation_estimate(snapshot, user_row) + titling(snapshot, n)
    body = await shared.queries.run(estimate, _explanation, snapshot, user_row, item_row, n)
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
    values = answers.model_scores(snapshot, item_scores(model, row, known), normalize=normalize)
    scored = iter(answers.scored_items(snapshot, known, values))
    entries = [
        UnknownItem(item) if item_row is None else next(scored) for item, item_row in zip(items, rows, strict=True)
    ]
    return answers.encode(ItemScores(snapshot.version, model.user_ids.of(row), entries))


def _seen(snapshot: Snapshot, row: int, page: slice) -> bytes:
    model = snapshot.model
    seen = _known_seen(model)
    rows = seen.of(row)[page]
    weights = answers.compact(seen.weights_of(row)[page])
    items = list(map(WeightedItem, model.item_ids.at(rows), weights, answers.titles_of(snapshot, rows)))
    return answers.encode(UserItems(snapshot.version, model.user_ids.of(row), items))


def _explanation(snapshot: Snapshot, user_row: int, item_row: int, n: int) -> bytes:
    model = snapshot.model
    all_items = explain(model, user_row, item_row, len(_known_seen(model).of(user_row)))
    total = answers.compact(all_items.scores.sum(keepdims=True))[0]
    items = answers.scored_items(snapshot, all_items.rows[:n], answers.compact(all_items.scores[:n]))
    user, item = model.user_ids.of(user_row), model.item_ids.of(item_row)
    title = answers.title_of(snapshot, item_row)
    return answers.encode(Explanation(snapshot.version, user, item, total, items, title))


def _explanation_estimate(snapshot: Snapshot, row: int) -> float:
    """Return the microseconds for this user: what was measured, times how much more than others the user had."""
    seen = _known_seen(snapshot.model)
    share = len(seen.of(row)) * len(snapshot.model.user_ids) / max(1, len(seen.items))
    return snapshot.manifest.costs.explain * max(1.0, share)


def _known_seen(model: Model) -> Seen:
    if model.seen is None:
        raise NoSeenItemsError("The served model does not carry what users already had.")
    return model.seen
