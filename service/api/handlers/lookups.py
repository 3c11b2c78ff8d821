"""From ids as asked to rows of one snapshot's model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from service.errors import UnknownItemError, UnknownUserError
from service.live.generation import Generation
from service.model.factors import Id, Int32
from service.model.ids import Ids
from service.model.model import Model
from service.model.scoring.ranking import NO_ROWS

#: One look-up in the largest models measured (10 million ids), for the estimate of what a query takes.
MICROSECONDS = 3.0
# A title among a million, found and decoded.
_TITLE_MICROSECONDS = 1.2


def known_user(model: Model, asked: Id) -> int:
    """Return a user's row. Raises UnknownUserError."""
    row = model.user_ids.row(asked)
    if row is None:
        raise UnknownUserError(f"The user {asked!r} is not in the served model.")
    return row


def known_item(model: Model, asked: Id) -> int:
    """Return an item's row. Raises UnknownItemError."""
    row = model.item_ids.row(asked)
    if row is None:
        raise UnknownItemError(f"The item {asked!r} is not in the served model.")
    return row


def item_rows(model: Model, asked: Sequence[Id]) -> Int32:
    """Return the rows of those items that the model knows, int32, in the order asked."""
    if not asked:
        return NO_ROWS
    rows = map(model.item_ids.row, asked)
    return np.array([row for row in rows if row is not None], np.int32)


def titling(generation: Generation, items: int, *, wanted: bool) -> float:
    """Return the microseconds that the titles of so many items take, where they are wanted."""
    return items * _TITLE_MICROSECONDS if wanted and generation.titles else 0.0


def own_form(ids: Ids, asked: Id) -> Id:
    """Return an id the way the model has it, a number or text; one that it cannot have, as asked."""
    if ids.kind == "str":
        return str(asked)
    try:
        number = int(asked)
    except ValueError:
        return asked
    return number if str(number) == str(asked) else asked
