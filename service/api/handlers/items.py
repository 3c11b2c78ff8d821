"""Handlers for the items of the model: ids and titles, similar and popular ones, and an item's audience."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice

import numpy as np
from aiohttp import web

from service.api import answers
from service.api.answers import Audience, FoundItem, FoundItems, Item, PopularItems, ScoredUser, SimilarItems
from service.api.context import Question
from service.api.decimals import compact
from service.api.handlers.eligibility import candidates, is_narrowed, narrowing, ranking
from service.api.handlers.lookups import (
    ENTRY_MICROSECONDS,
    MICROSECONDS,
    answered,
    answered_in_turns,
    known_item,
    titling,
)
from service.api.parameters import Options, Paged, PopularPage, Search, SimilarEntries
from service.api.query_strings import path_id
from service.api.results import Answer
from service.live.generation import Generation
from service.model.catalog.catalog import Words
from service.model.scoring import scoring
from service.model.title_search import search

# How many bytes of titles are searched in a microsecond.
_BYTES_PER_MICROSECOND = 1000
# Cost of an attribute of one item.
_ATTRIBUTE_MICROSECONDS = 10.0
# Cost of passing by an item, of the popular ones, that is not eligible.
_WALK_MICROSECONDS = 0.004


async def listed(question: Question[Generation, Search]) -> web.StreamResponse:
    """Find items by id or title.

    Those whose id begins with ``query`` come first, in ascending order of the ids; then those whose title has it at the
    beginning of a word, in whatever case. Without a query, all ids are listed in ascending order. Unavailable items are
    left out.
    """
    generation, options = question.generation, question.options
    estimate = (options.n + options.offset) * ENTRY_MICROSECONDS + titling(generation, options.n, wanted=True)
    if options.query and (titles := _titles(generation)):
        estimate += len(titles.text) / _BYTES_PER_MICROSECOND
    return await answered_in_turns(question, estimate, _listed, options)


def _listed(generation: Generation, options: Search) -> Iterator[Answer | None]:
    """Yield None after each turn of the search, and the answer after the last."""
    ids, wanted = generation.snapshot.model.item_ids, options.offset + options.n
    rows = dict.fromkeys(islice(_available(generation, ids.starting_with(options.query)), wanted))
    for found in _with_titles(generation, options.query):
        new = (row for row in _available(generation, found) if row not in rows)
        rows |= dict.fromkeys(islice(new, wanted - len(rows)))
        if len(rows) == wanted:
            break
        yield None
    page = np.array(list(rows)[options.offset :], np.int64)
    items = list(map(FoundItem, ids.at(page), answers.titles_of(generation, page, wanted=True)))
    yield Answer(answers.encode(FoundItems(generation.version, items, generation.shown_arm)))


def _available(generation: Generation, rows: Iterable[int]) -> Iterator[int]:
    available = generation.assortment.available
    return (row for row in rows if available is None or available[row])


def _titles(generation: Generation) -> Words | None:
    catalog = generation.assortment.catalog
    return None if catalog is None else catalog.titles


def _with_titles(generation: Generation, query: str) -> Iterator[list[int]]:
    """Yield the rows of the model's items whose titles match, some at a time; none for a query that is blank."""
    catalog, titles = generation.assortment.catalog, _titles(generation)
    if catalog is None or titles is None or not query.strip():
        return
    for places in search(titles.starts, titles.text, query):
        rows = generation.snapshot.model.item_ids.rows(catalog.ids.take(places))
        yield rows[rows >= 0].tolist()


async def described(question: Question[Generation, Options]) -> web.StreamResponse:
    """Describe an item.

    Its title and attributes in the catalog, if there are any, and whether it may be shown.
    """
    generation = question.generation
    row = known_item(generation.snapshot.model, path_id(question, "item"))
    return await answered(question, lambda: _description_estimate(generation), _described, row)


def _description_estimate(generation: Generation) -> float:
    catalog = generation.assortment.catalog
    return MICROSECONDS + _ATTRIBUTE_MICROSECONDS * (len(catalog.columns) if catalog else 0)


def _described(generation: Generation, row: int) -> Answer:
    assortment, ids = generation.assortment, generation.snapshot.model.item_ids
    (available,) = assortment.are_available(np.array([row]))
    title, arm = answers.title_of(generation, row, wanted=True), generation.shown_arm
    found = Item(generation.version, ids.of(row), available, assortment.attributes_of(row), title, arm)
    return Answer(answers.encode(found))


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
    for ranked in scoring.audience(model, row, options.n, offset=options.offset, hidden=generation.assortment.hidden):
        if ranked is None:
            yield None
        else:
            users = list(map(ScoredUser, model.user_ids.at(ranked.rows), compact(ranked.scores)))
            item, arm = model.item_ids.of(row), generation.shown_arm
            yield Answer(answers.encode(Audience(generation.version, item, users, arm)))


def _similar_estimate(generation: Generation, options: SimilarEntries) -> float:
    titles = titling(generation, options.n, wanted=options.titles)
    scan = ranking(generation, options, generation.snapshot.manifest.costs.similar_items)
    return scan + narrowing(generation, options) + titles


def _popular_estimate(generation: Generation, options: PopularPage) -> float:
    titles = titling(generation, options.n, wanted=options.titles)
    walked = len(generation.snapshot.model.item_ids) if is_narrowed(generation, options) else 0
    walk = ranking(generation, options, walked * _WALK_MICROSECONDS)
    return walk + narrowing(generation, options) + titles


def _popular(generation: Generation, options: PopularPage) -> Answer:
    snapshot = generation.snapshot
    popular_ones = partial(scoring.popular, snapshot.model)
    ranked = candidates(generation, options).best(popular_ones, options.n, options.offset)
    scores = answers.popular_scores(snapshot, ranked.scores, normalize=False)
    items = answers.scored_items(generation, ranked.rows, scores, titles=options.titles, min_score=options.min_score)
    return Answer(answers.encode(PopularItems(snapshot.version, items, generation.shown_arm)))


def _similar(generation: Generation, row: int, options: SimilarEntries) -> Answer:
    snapshot = generation.snapshot
    similar_ones = partial(scoring.similar_items, snapshot.model, row)
    ranked = candidates(generation, options).best(similar_ones, options.n)
    scores = compact(ranked.scores)
    items = answers.scored_items(generation, ranked.rows, scores, titles=options.titles, min_score=options.min_score)
    title = answers.title_of(generation, row, wanted=options.titles)
    item, arm = snapshot.model.item_ids.of(row), generation.shown_arm
    return Answer(answers.encode(SimilarItems(snapshot.version, item, items, title, arm)))
