"""Handlers for the items of the model: similar and popular ones, and an item's audience."""

from __future__ import annotations

from collections.abc import Iterator

from aiohttp import web

from service.api import answers
from service.api.answers import Answer, Audience, PopularItems, ScoredUser, SimilarItems
from service.api.context import Question
from service.api.handlers.lookups import ENTRY_MICROSECONDS, answered, answered_in_turns, known_item, titling
from service.api.parameters import Entries, Page, Paged
from service.api.query_strings import path_id
from service.live.generation import Generation
from service.model.scoring import scoring


async def similar(question: Question[Generation, Entries]) -> web.StreamResponse:
    """Find similar items.

    By the cosine similarity of their factors, without the item itself.
    """
    generation, options = question.generation, question.options
    row = known_item(generation.snapshot.model, path_id(question, "item"))
    costs, titles = generation.snapshot.manifest.costs, titling(generation, options.n, wanted=options.titles)
    return await answered(question, lambda: costs.similar_items + titles, _similar, row, options)


async def popular(question: Question[Generation, Page]) -> web.StreamResponse:
    """List the most popular items.

    The score of an item is the number of users who had it.
    """
    generation, options = question.generation, question.options
    estimate = titling(generation, options.n, wanted=options.titles)
    return await answered(question, lambda: estimate, _popular, options)


async def audience(question: Question[Generation, Paged]) -> web.StreamResponse:
    """Find the audience of an item.

    The users with the greatest scores for it, exactly, without those who had it if the model has seen items. Equal
    scores are in the order of the user ids.
    """
    snapshot, options = question.generation.snapshot, question.options
    row, seen = known_item(snapshot.model, path_id(question, "item")), snapshot.model.seen
    estimate = snapshot.manifest.costs.audience(len(seen.items) if seen else 0) + options.n * ENTRY_MICROSECONDS
    return await answered_in_turns(question, estimate, _audience, row, options)


def _audience(generation: Generation, row: int, options: Paged) -> Iterator[Answer | None]:
    """Yield None after each turn of the scan, and the answer after the last."""
    model = generation.snapshot.model
    for ranked in scoring.audience(model, row, options.n, offset=options.offset):
        if ranked is None:
            yield None
        else:
            users = list(map(ScoredUser, model.user_ids.at(ranked.rows), answers.compact(ranked.scores)))
            yield Answer(answers.encode(Audience(generation.version, model.item_ids.of(row), users)))


def _popular(generation: Generation, options: Page) -> Answer:
    snapshot = generation.snapshot
    ranked = scoring.popular(snapshot.model, options.n, offset=options.offset)
    scores = answers.popular_scores(snapshot, ranked.scores, normalize=False)
    items = answers.scored_items(generation, ranked.rows, scores, titles=options.titles)
    return Answer(answers.encode(PopularItems(snapshot.version, items)))


def _similar(generation: Generation, row: int, options: Entries) -> Answer:
    snapshot = generation.snapshot
    ranked = scoring.similar_items(snapshot.model, row, options.n)
    items = answers.scored_items(generation, ranked.rows, answers.compact(ranked.scores), titles=options.titles)
    title = answers.title_of(generation, row, wanted=options.titles)
    return Answer(answers.encode(SimilarItems(snapshot.version, snapshot.model.item_ids.of(row), items, title)))
