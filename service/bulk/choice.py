"""The choice of what is written: who gets a list, and which items may be in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.bulk.lists import Wanted
from service.model.catalog.assortment import Assortment
from service.model.catalog.id_list import IdList
from service.model.factors import Int32
from service.model.filtering.selection import selection_of
from service.model.model import Model


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for. filter: "" for all items; users: the only users who get a list, None for all."""

    n: int = 10
    exclude_seen: bool = True
    filter: str = ""
    users: IdList | None = None


def choose(model: Model, assortment: Assortment, asked: Asked) -> tuple[Int32, Wanted]:
    """Return the user rows that get a list, ascending, and what the lists have. Hidden users get none.

    Raises BadFilterError.
    """
    selection = selection_of(assortment)
    eligible = selection.matching(asked.filter) if asked.filter else selection.available
    return _users(model, assortment, asked.users), Wanted(asked.n, asked.exclude_seen, eligible)


def _users(model: Model, assortment: Assortment, listed: IdList | None) -> Int32:
    wanted = np.ones(len(model.user_ids), np.bool_)
    if listed is not None:
        rows = model.user_ids.rows(listed.ids)
        wanted[:] = False
        wanted[rows[rows >= 0]] = True
    if assortment.hidden is not None:
        wanted &= ~assortment.hidden
    return np.flatnonzero(wanted).astype(np.int32)
