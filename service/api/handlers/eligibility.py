"""Eligibility: the items that may be in the answer to a request, and the best of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from msgspec import UNSET

from service.api.answers import Strategy
from service.api.handlers.lookups import MICROSECONDS, item_rows
from service.api.parameters import AnonymousBody, Narrowing, Recommending
from service.api.results import Listed
from service.errors import BadFilterError
from service.live.generation import Generation
from service.model.factors import Id, Int32
from service.model.filtering.capping import Groups, Rank, capped
from service.model.filtering.forms import among
from service.model.filtering.selection import selection_of
from service.model.scoring.ranking import NO_ROWS, Eligible, Ranked

_CAP = re.compile(r"(.+):([1-9][0-9]{0,2}|1000)", re.DOTALL)
# A capped list usually takes up to three rounds, and each looks at all items.
_ROUNDS, _ROUND_MICROSECONDS = 3, 0.01


class Cap(NamedTuple):
    """At most ``most`` items of each value of an attribute."""

    groups: Groups
    most: int


class Candidates(NamedTuple):
    """The items that may be in an answer: ``eligible`` rows, None for all, without ``exclude``, and a cap, if any."""

    eligible: Eligible | None
    exclude: Int32
    cap: Cap | None

    def best(self, rank: Rank, n: int, offset: int = 0) -> Ranked:
        """Return the ``n`` best after the ``offset`` best; ``rank`` leaves out what is excluded."""
        if self.cap is None:
            return rank(n, offset=offset, eligible=self.eligible)
        return capped(rank, *self.cap, n + offset, self.eligible).after(offset)

    def without(self, rows: Int32) -> Candidates:
        """Return the candidates that are not among these rows either."""
        return self._replace(exclude=np.concatenate((self.exclude, rows)))


#: What most requests ask for.
ALL = Candidates(None, NO_ROWS, None)


def candidates(generation: Generation, options: Narrowing, exclude: Sequence[Id] = ()) -> Candidates:
    """Return the candidates for an answer with these options. Every route that returns items asks here.

    Raises BadFilterError.
    """
    is_open = options.only is UNSET and generation.assortment.available is None
    if is_open and not (exclude or options.filter or options.max_per):
        return ALL
    model = generation.snapshot.model
    return Candidates(_eligible(generation, options), item_rows(model, exclude), _cap(generation, options))


def is_narrowed(generation: Generation, options: Narrowing) -> bool:
    """Return whether some items cannot be in the answer."""
    return generation.assortment.available is not None or bool(options.filter) or options.only is not UNSET


def described(
    strategy: Strategy, ranked: Ranked, items: Sequence[object], options: Recommending | AnonymousBody
) -> Listed:
    """Describe what a strategy found, and of that, what is in the answer to a request with these options."""
    if items:
        return Listed(strategy, ranked.scanned, ranked.read, ranked.scores.item(0), empty=False)
    return Listed(strategy, ranked.scanned, ranked.read, None, empty=not _asks_for_fewer(options))


def _asks_for_fewer(options: Recommending | AnonymousBody) -> bool:
    """Return whether a request itself leaves items out."""
    narrowed = bool(options.filter or options.exclude or options.offset)
    return narrowed or options.only is not UNSET or options.min_score is not UNSET


def narrowing(generation: Generation, options: Narrowing) -> float:
    """Estimate the microseconds for finding the candidates."""
    only = 0 if options.only is UNSET else len(options.only) * MICROSECONDS
    if not options.filter and not options.max_per:
        return only
    return only + selection_of(generation.assortment).microseconds(options.filter, options.max_per.rpartition(":")[0])


def ranking(generation: Generation, options: Narrowing, once: float) -> float:
    """Estimate the microseconds for ranking, which takes ``once`` without a cap."""
    if not options.max_per:
        return once
    return _ROUNDS * (once + len(generation.snapshot.model.item_ids) * _ROUND_MICROSECONDS)


def _eligible(generation: Generation, options: Narrowing) -> Eligible | None:
    """Return what is available, and of that, what the request narrows to. Raises BadFilterError."""
    if not is_narrowed(generation, options):
        return None
    selection = selection_of(generation.assortment)
    eligible = selection.matching(options.filter) if options.filter else selection.available
    if options.only is UNSET:
        return eligible
    return among(np.unique(item_rows(generation.snapshot.model, options.only)), eligible)


def _cap(generation: Generation, options: Narrowing) -> Cap | None:
    if not options.max_per:
        return None
    given = _CAP.fullmatch(options.max_per)
    if given is None:
        raise BadFilterError("max_per is not an attribute and a number from 1 to 1000, such as genre:2.")
    return Cap(selection_of(generation.assortment).groups(given[1]), int(given[2]))
