"""Eligibility: the items that may be in the answer to a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from msgspec import UNSET

from service.api.handlers.lookups import MICROSECONDS, item_rows
from service.api.parameters import Narrowing
from service.live.generation import Generation
from service.model.factors import Id, Int32
from service.model.filtering.selection import among, selection_of
from service.model.scoring.ranking import Eligible


class Candidates(NamedTuple):
    """The items that may be in an answer: ``eligible`` rows, None for all, without those of ``exclude``."""

    eligible: Eligible | None
    exclude: Int32


def candidates(generation: Generation, options: Narrowing, exclude: Sequence[Id] = ()) -> Candidates:
    """Return the candidates for an answer with these options. Every route that returns items asks here.

    Raises BadFilterError.
    """
    return Candidates(_eligible(generation, options), item_rows(generation.snapshot.model, exclude))


def is_narrowed(generation: Generation, options: Narrowing) -> bool:
    """Return whether some items cannot be in the answer."""
    return generation.assortment.available is not None or bool(options.filter) or options.only is not UNSET


def narrowing(generation: Generation, options: Narrowing) -> float:
    """Estimate the microseconds for finding the candidates."""
    only = 0 if options.only is UNSET else len(options.only) * MICROSECONDS
    return only + (selection_of(generation.assortment).microseconds(options.filter) if options.filter else 0)


def _eligible(generation: Generation, options: Narrowing) -> Eligible | None:
    """Return what is available, and of that, what the request narrows to. Raises BadFilterError."""
    if not is_narrowed(generation, options):
        return None
    selection = selection_of(generation.assortment)
    eligible = selection.matching(options.filter) if options.filter else selection.available
    if options.only is UNSET:
        return eligible
    return among(np.unique(item_rows(generation.snapshot.model, options.only)), eligible)
