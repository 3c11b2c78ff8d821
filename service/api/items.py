"""About the items of the model: which are alike, and which are popular."""

from __future__ import annotations

from aiohttp import web

from service.api import answers
from service.api.answers import PopularItems, SimilarItems
from service.api.lookups import known_item, titling
from service.api.parameters import path_id, query_of
from service.api.shared import Shared
from service.model.scoring import scoring
from service.model.storage.snapshot import Snapshot


async def similar(request: web.Request, shared: Shared) -> web.Response:
    """Find the items most like one.

    By the cosine of their factors; the item itself is left out.
    """
    snapshot = shared.snapshot_with_factors()
    query = query_of(request, "n", "titles")
    n = query.n(shared.limits.max_n)
    snapshot = shared.titled(snapshot, query.titles())
    row = known_item(snapshot.model, path_id(request, "item"))
    estimate = snapshot.manifest.costs.similar_items + titling(snapshot, n)
    body = await shared.queries.run(estimate, _similar, snapshot, row, n)
    return answers.response(body, snapshot.version)


async def popular(request: web.Request, shared: Shared) -> web.Response:
    """List the most popular items.

    The score of each is the number of users who had it.
    """
    snapshot = shared.snapshot()
    query = query_of(request, "n", "offset", "titles")
    n, offset = query.n(shared.limits.max_n), query.offset()
    snapshot = shared.titled(snapshot, query.titles())
    body = await shared.queries.run(titling(snapshot, n), _popular, snapshot, n, offset)
    return answers.response(body, snapshot.version)


def _popular(snapshot: Snapshot, n: int, offset: int) -> bytes:
    ranked = scoring.popular(snapshot.model, n, offset=offset)
    scores = answers.popular_scores(snapshot, ranked.scores, normalize=False)
    return answers.encode(PopularItems(snapshot.version, answers.scored_items(snapshot, ranked.rows, scores)))


def _similar(snapshot: Snapshot, row: int, n: int) -> bytes:
    ranked = scoring.similar_items(snapshot.model, row, n)
    items = answers.scored_items(snapshot, ranked.rows, answers.compact(ranked.scores))
    item = snapshot.model.item_ids.of(row)
    return answers.encode(SimilarItems(snapshot.version, item, items, answers.title_of(snapshot, row)))
