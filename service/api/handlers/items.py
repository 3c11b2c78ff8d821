"""Handlers for the items of the model: similar and popular ones."""

from __future__ import annotations

from aiohttp import web

from service.api import answers
from service.api.answers import Answer, PopularItems, SimilarItems
from service.api.context import Question
from service.api.handlers.eligibility import candidates, is_narrowed, narrowing
from service.api.handlers.lookups import answered, known_item, titling
from service.api.parameters import PopularPage, SimilarEntries
from service.api.query_strings import path_id
from service.live.generation import Generation
from service.model.scoring import scoring

# Cost of passing by an item, of the popular ones, that is not eligible.
_WALK_MICROSECONDS = 0.004


async def similar(question: Question[Generation, SimilarEntries]) -> web.StreamResponse:
    """Find similar items.

    By the cosine similarity of their factors, without the item itself.
    """
    generation, options = question.generation, question.options
    row = known_item(generation.snapshot.model, path_id(question, "item"))
    return await answered(question, lambda: _similar_estimate(generation, options), _similar, row, options)


async def popular(question: Question[Generation, PopularPage]) -> web.StreamResponse:
    """List the most popular items.

    The score of an item is the number of users who had it.
    """
    generation, options = question.generation, question.options
    return await answered(question, lambda: _popular_estimate(generation, options), _popular, options)


def _similar_estimate(generation: Generation, options: SimilarEntries) -> float:
    titles = titling(generation, options.n, wanted=options.titles)
    return generation.snapshot.manifest.costs.similar_items + narrowing(generation, options) + titles


def _popular_estimate(generation: Generation, options: PopularPage) -> float:
    titles = titling(generation, options.n, wanted=options.titles)
    walked = len(generation.snapshot.model.item_ids) if is_narrowed(generation, options) else 0
    return narrowing(generation, options) + walked * _WALK_MICROSECONDS + titles


def _popular(generation: Generation, options: PopularPage) -> Answer:
    snapshot = generation.snapshot
    ranked = scoring.popular(
        snapshot.model, options.n, offset=options.offset, eligible=candidates(generation, options).eligible
    )
    scores = answers.popular_scores(snapshot, ranked.scores, normalize=False)
    items = answers.scored_items(generation, ranked.rows, scores, titles=options.titles)
    return Answer(answers.encode(PopularItems(snapshot.version, items)))


def _similar(generation: Generation, row: int, options: SimilarEntries) -> Answer:
    snapshot = generation.snapshot
    ranked = scoring.similar_items(snapshot.model, row, options.n, eligible=candidates(generation, options).eligible)
    items = answers.scored_items(generation, ranked.rows, answers.compact(ranked.scores), titles=options.titles)
    title = answers.title_of(generation, row, wanted=options.titles)
    return Answer(answers.encode(SimilarItems(snapshot.version, snapshot.model.item_ids.of(row), items, title)))
