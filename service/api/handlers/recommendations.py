"""Handlers for recommendations: for one user, many users, or someone who is not in the model."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from functools import partial

import msgspec
import numpy as np
from aiohttp import web
from msgspec import UNSET

from service.api import answers
from service.api.answers import (
    AnonymousRecommendations,
    BatchRecommendations,
    Recommendations,
    Strategy,
    UserFailure,
    UserResult,
    model_scores,
    popular_scores,
    scored_items,
)
from service.api.context import Question
from service.api.handlers.eligibility import ALL, Candidates, candidates, described, narrowing, ranking
from service.api.handlers.lookups import ENTRY_MICROSECONDS, MICROSECONDS, answered, titling
from service.api.parameters import AnonymousBody, BatchBody, GivenItem, Recommending, SessionBody
from service.api.query_strings import path_id
from service.api.results import Answer, Listed, Results
from service.errors import InvalidBodyError, UnknownItemError, UnknownUserError
from service.live.generation import Generation
from service.model.factors import Float32, Id, Int32
from service.model.filtering.capping import Rank
from service.model.model import Model
from service.model.rollout.arms import ARMS, Arm
from service.model.scoring.batches import recommend_many
from service.model.scoring.ranking import NO_ROWS, Ranked
from service.model.scoring.scoring import fold_in, popular, recommend, top_n

#: The limit of users times n in one batch: it keeps the answer below about 5 MB, which is sent without blocking others.
MAX_BATCH_ENTRIES = 100_000

# QueryCosts measures up to here; larger n takes longer in proportion.
_MEASURED_FOLDED_ITEMS = 50


async def for_user(question: Question[Generation, Recommending]) -> web.StreamResponse:
    """Recommend items to one user.

    The exact top n, best first. ``strategy`` is ``als``, or ``popular`` for a user who is not in the model or whose
    factors are all 0. Equal scores always come in the same order.
    """
    generation, options = question.generation, question.options
    user = path_id(question, "user")
    response = await answered(question, lambda: _estimate(generation, options), _one_user, user, options)
    if generation.candidate is not None and not options.offset:
        shadow = partial(_one_user, user=user, options=options)
        question.context.shadow.consider(generation, response.body, shadow)
    return response


async def for_users(question: Question[Generation, BatchBody]) -> web.StreamResponse:
    """Recommend items to many users.

    The same as for one user, for up to 1000 at once. If ``fallback`` is ``none``, a user who is not in the model gets
    an entry with an error; the other entries are not affected.
    """
    generation, context, options = question.generation, question.context, question.options
    _refuse_too_many(options)
    estimate = _estimate(generation, options, len(options.users))
    body = await context.queries.run_in_turns(estimate, _many_users(generation, options, context.results))
    return answers.response(body, generation.version)


async def for_anonymous(question: Question[Generation, AnonymousBody]) -> web.StreamResponse:
    """Recommend items to someone who is not in the model.

    Their factors are computed from the items they had, as in training; nothing is stored. Items that the model does not
    know are ignored and listed in ``unknown_items``.
    """
    generation, context, options = question.generation, question.context, question.options
    estimate = folding_estimate(generation, options, len(options.items))
    body = await context.queries.run(estimate, _anonymous, generation, options, context.results)
    return answers.response(body, generation.version)


def _refuse_too_many(options: BatchBody) -> None:
    if options.n * len(options.users) > MAX_BATCH_ENTRIES:
        raise InvalidBodyError(
            f"The body asks for {options.n} items for each of {len(options.users)} users; users times n may be up to "
            f"{MAX_BATCH_ENTRIES}, so ask for fewer at once."
        )


def _estimate(generation: Generation, options: Recommending, users: int = 1) -> float:
    """Estimate the microseconds for recommendations to this many users."""
    entries = options.n * ENTRY_MICROSECONDS + titling(generation, options.n, wanted=options.titles)
    once = generation.snapshot.manifest.costs.recommend(options.n + options.offset)
    each = ranking(generation, options, once) + MICROSECONDS + entries
    return users * each + len(options.exclude) * MICROSECONDS + narrowing(generation, options)


def folding_estimate(generation: Generation, options: AnonymousBody | SessionBody, folded: int) -> float:
    """Estimate the microseconds for recommendations to someone for whom so many items are folded in."""
    costs = generation.snapshot.manifest.costs
    fold_in_us = costs.fold_in * max(1.0, folded / _MEASURED_FOLDED_ITEMS)
    lookups = (len(options.items) + len(options.exclude)) * MICROSECONDS
    entries = titling(generation, options.n, wanted=options.titles)
    scan = ranking(generation, options, costs.recommend(options.n + options.offset))
    return fold_in_us + scan + lookups + entries + narrowing(generation, options)


def _one_user(generation: Generation, user: Id, options: Recommending) -> Answer:
    among = candidates(generation, options, options.exclude)
    result, listed = result_of(generation, user, options, among)
    user, strategy, arm = result.user_id, result.strategy, generation.shown_arm
    return Answer(answers.encode(Recommendations(generation.version, user, strategy, result.items, arm)), listed)


def _many_users(generation: Generation, options: BatchBody, results: Results) -> Iterator[bytes | None]:
    """Yield None after each turn of the scan, and the answer after the last."""
    entries: dict[int, msgspec.Raw] = {}
    for arm, places in _by_arm(generation, options.users):
        found = yield from _entries(arm, [options.users[place] for place in places], options, results)
        entries |= zip(places, found, strict=True)
    in_order = [entries[place] for place in range(len(options.users))]
    yield answers.encode(BatchRecommendations(generation.version, in_order, generation.shown_arm))


def _by_arm(generation: Generation, users: Sequence[Id]) -> list[tuple[Generation, Sequence[int]]]:
    """Return the generation of each arm, and the places of its users."""
    if generation.candidate is None:
        return [(generation, range(len(users)))]
    experiment = generation.candidate.experiment
    places: dict[Arm, list[int]] = {arm: [] for arm in ARMS}
    for place, user in enumerate(users):
        places[experiment.arm_of(user)].append(place)
    return [(generation, places["served"]), (generation.candidate.generation, places["candidate"])]


def _entries(
    generation: Generation, users: Sequence[Id], options: BatchBody, results: Results
) -> Generator[None, None, list[msgspec.Raw]]:
    """Yield after each turn of the scan; return the entries of these users, who are of one arm."""
    model, among = generation.snapshot.model, candidates(generation, options, options.exclude)
    rows = [generation.user_row(user) for user in users]
    known = [row for row in rows if row is not None and not _gets_popular(model, row, options)]
    scanned: list[msgspec.Raw] = []
    for found in _scan(model, known, options, among):
        # One by one, because encoding all at once would hold the interpreter lock throughout.
        for row, ranked in zip(known[len(scanned) :], found, strict=False):
            result, listed = _scanned(generation, row, ranked, options)
            results.count(listed, generation.arm)
            scanned.append(_encoded(generation, result))
        yield None
    of_known, entries = iter(scanned), list[msgspec.Raw]()
    for user, found_row in zip(users, rows, strict=True):
        if found_row is not None and not _gets_popular(model, found_row, options):
            entries.append(next(of_known))
            continue
        entries.append(_encoded(generation, _result_or_failure(generation, user, options, among, results)))
        if among.eligible is not None or among.cap is not None:  # what is popular may be far between
            yield None
    return entries


def _scan(model: Model, rows: list[int], options: BatchBody, among: Candidates) -> Iterator[list[Ranked]]:
    if among.cap is not None:
        return ([among.best(_to_user(model, row, options, among), options.n, options.offset)] for row in rows)
    return recommend_many(
        model,
        np.array(rows, np.int32),
        options.n,
        offset=options.offset,
        exclude_seen=options.exclude_seen,
        exclude=among.exclude,
        eligible=among.eligible,
    )


def _encoded(generation: Generation, entry: UserResult | UserFailure) -> msgspec.Raw:
    """Encode an entry, which names its arm and model while there is a candidate."""
    if generation.shown_arm is not UNSET:
        entry = msgspec.structs.replace(entry, model_version=generation.version, arm=generation.arm)
    return msgspec.Raw(answers.encode(entry))


def _result_or_failure(
    generation: Generation, user: Id, options: Recommending, among: Candidates, results: Results
) -> UserResult | UserFailure:
    try:
        result, listed = result_of(generation, user, options, among)
    except UnknownUserError:
        return UserFailure(generation.snapshot.model.user_ids.own_form(user))
    results.count(listed, generation.arm)
    return result


def result_of(generation: Generation, user: Id, options: Recommending, among: Candidates) -> tuple[UserResult, Listed]:
    """Recommend to one user. Raises UnknownUserError if there is no fallback either."""
    model = generation.snapshot.model
    row = generation.user_row(user)
    if row is None:
        return _fallback(generation, user, options, among)
    if model.limited:
        return _instead(generation, user, row, options, among)
    ranked = _best(model, row, options, among)
    # Only scores of 0 make it worth looking whether the factors are all 0, which takes 2 µs.
    if not (len(ranked.scores) and ranked.scores.item(0)) and _gets_popular(model, row, options):
        return _instead(generation, user, row, options, among)
    return _scanned(generation, row, ranked, options)


def _best(model: Model, row: int, options: Recommending, among: Candidates) -> Ranked:
    if among is ALL:  # most requests, for which the way around would be a percent of their work
        return recommend(model, row, options.n, offset=options.offset, exclude_seen=options.exclude_seen)
    return among.best(_to_user(model, row, options, among), options.n, options.offset)


def _to_user(model: Model, row: int, options: Recommending, among: Candidates) -> Rank:
    return partial(recommend, model, row, exclude_seen=options.exclude_seen, exclude=among.exclude)


def _scanned(generation: Generation, row: int, ranked: Ranked, options: Recommending) -> tuple[UserResult, Listed]:
    """Shape what was found for a user of the model."""
    scores = model_scores(generation.snapshot, ranked.scores, normalize=options.normalize)
    items = scored_items(generation, ranked.rows, scores, titles=options.titles, min_score=options.min_score)
    return UserResult(generation.snapshot.model.user_ids.of(row), "als", items), described(
        "als", ranked, items, options
    )


def _seen(model: Model, row: int, options: Recommending) -> Int32:
    return model.seen.of(row) if options.exclude_seen and model.seen else NO_ROWS


def _gets_popular(model: Model, row: int, options: Recommending) -> bool:
    """Return whether a user of the model gets what is popular, because the factors are all 0 or there are none."""
    falls_back = options.fallback != "none" and model.popularity is not None
    return model.limited or (falls_back and not model.user_factors[row].any())


def _instead(
    generation: Generation, user: Id, row: int, options: Recommending, among: Candidates
) -> tuple[UserResult, Listed]:
    """Recommend what is popular to a user of the model, without what the user had."""
    seen = _seen(generation.snapshot.model, row, options)
    return popular_result(generation, user, options, among.without(seen))


def _fallback(generation: Generation, user: Id, options: Recommending, among: Candidates) -> tuple[UserResult, Listed]:
    model = generation.snapshot.model
    unknown = f"The user {user!r} is not in the served model"
    if options.fallback == "none":
        raise UnknownUserError(f"{unknown}.")
    if model.popularity is None:
        raise UnknownUserError(f"{unknown}, which has no popularity to fall back on.")
    return popular_result(generation, user, options, among)


def popular_result(
    generation: Generation, user: Id, options: Recommending, among: Candidates
) -> tuple[UserResult, Listed]:
    """Recommend what is popular among the candidates."""
    model = generation.snapshot.model
    ranked = among.best(partial(popular, model, exclude=among.exclude), options.n, options.offset)
    scores = popular_scores(generation.snapshot, ranked.scores, normalize=options.normalize)
    items = scored_items(generation, ranked.rows, scores, titles=options.titles, min_score=options.min_score)
    return UserResult(model.user_ids.own_form(user), "popular", items), described("popular", ranked, items, options)


def _anonymous(generation: Generation, options: AnonymousBody, results: Results) -> bytes:
    """Fold in a user and recommend. Raises UnknownItemError if the model knows none of the items."""
    model = generation.snapshot.model
    rows, weights, unknown = known_items(model, options.items)
    if not len(rows):
        raise UnknownItemError("None of the given items is in the served model; give at least one that is.")
    strategy, ranked = _for_what_was_had(generation, rows, weights, options)
    to_scores = popular_scores if strategy == "popular" else model_scores
    scores = to_scores(generation.snapshot, ranked.scores, normalize=options.normalize)
    items = scored_items(generation, ranked.rows, scores, titles=options.titles, min_score=options.min_score)
    results.count(described(strategy, ranked, items, options), generation.arm)
    return answers.encode(AnonymousRecommendations(generation.version, strategy, items, unknown, generation.shown_arm))


def known_items(model: Model, given: Sequence[GivenItem]) -> tuple[Int32, Float32, list[Id]]:
    """Return the rows and weights of the given items that the model knows, and the ids of the others."""
    found = [(item, model.item_ids.row(item.item_id)) for item in given]
    rows = np.array([row for _, row in found if row is not None], np.int32)
    weights = np.array([item.weight for item, row in found if row is not None], np.float32)
    return rows, weights, [model.item_ids.own_form(item.item_id) for item, row in found if row is None]


def _for_what_was_had(
    generation: Generation, rows: Int32, weights: Float32, options: AnonymousBody
) -> tuple[Strategy, Ranked]:
    model, among = generation.snapshot.model, candidates(generation, options, options.exclude)
    without = np.union1d(rows, among.exclude)
    if model.limited:
        return "popular", among.best(partial(popular, model, exclude=without), options.n, options.offset)
    to_vector = partial(top_n, model, fold_in(model, rows, weights), without=without)
    return "fold_in", among.best(to_vector, options.n, options.offset)
