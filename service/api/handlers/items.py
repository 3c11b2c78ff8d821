"""About the items of the model: which are alike, and which are popular."""

from __future__ import annotations

from aiohttp import web

from service.api import answers
from service.api.answers import PopularItems, SimilarItems
from service.api.context import Question
from service.api.handlers.lookups import known_item, titling
from service.api.parameters import Entries, Page
from service.api.query_strings import path_id
from service.model.scoring import scoring
from service.model.storage.snapshot import Snapshot


async def similar(question: Question[Snapshot, Entries]) -> web.Response:
    """Find the items most like one.

    By the cosine of their factors; the item itself is left out.
    """
    context, options = question.context, question.options
    snapshot = context.titled(question.snapshot, options.titles)
    row = known_item(snapshot.model, path_id(question.request, "item"))
    estimate = snapshot.manifest.costs.similar_items + titling(snapshot, options.n)
    body = await context.queries.run(estimate, _similar, snapshot, row, options.n)
    return answers.response(body, snapshot.version)


async def popular(question: Question[Snapshot, Page]) -> web.Response:
    """List the most popular items.

    The score of each is the number of users who had it.
    """
    context, options = question.context, question.options
    snapshot = context.titled(question.snapshot, options.titles)
    body = await context.queries.run(titling(snapshot, options.n), _popular, snapshot, options)
    return answers.response(body, snapshot.version)


def _popular(snapshot: Snapshot, options: Page) -> bytes:
    ranked = scoring.popular(snapshot.model, options.n, offset=options.offset)
    scores = answers.popular_scores(snapshot, ranked.scores, normalize=False)
    return answers.encode(PopularItems(snapshot.version, answers.scored_items(snapshot, ranked.rows, scores)))


def _similar(snapshot: Snapshot, row: int, n: int) -> bytes:
    ranked = scoring.similar_items(snapshot.model, row, n)
    items = answers.scored_items(snapshot, ranked.rows, answers.compact(ranked.scores))
    item = snapshot.model.item_ids.of(row)
    return answers.encode(SimilarItems(snapshot.version, item, items, answers.title_of(snapshot, row)))
