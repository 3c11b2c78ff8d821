"""Queries on a model: the public functions of this package.

Rows are those of :class:`service.model.model.Model`; ``Ids.row`` turns an id into a row, which is never negative. Of
equal scores, the earlier row comes first: among items, the one with the greater norm, then the smaller id.
"""

from __future__ import annotations

import numpy as np

from service.errors import NoSeenItemsError
from service.model.factors import Float32, Int32
from service.model.model import Model
from service.model.scoring import blocks
from service.model.scoring.audience import audience
from service.model.scoring.folding import explain, explain_in_turns, fold_in, fold_in_turns
from service.model.scoring.kernel import address
from service.model.scoring.products import scores_of
from service.model.scoring.ranking import NO_ROWS, Eligible, Ranked, are_eligible, is_mask, mask_of
from service.model.scoring.scan import scan_of
from service.model.scoring.similarity import similar_items, similar_users

__all__ = [
    "Ranked",
    "audience",
    "explain",
    "explain_in_turns",
    "fold_in",
    "fold_in_turns",
    "item_scores",
    "popular",
    "recommend",
    "similar_items",
    "similar_users",
    "top_n",
]

# So few are sorted, or looked up in a list, sooner than all items are gone through, or a mask of them is made.
_SORTED_ITEMS = 4096


def top_n(
    model: Model,
    vector: Float32,
    n: int,
    *,
    offset: int = 0,
    without: Int32 = NO_ROWS,
    eligible: Eligible | None = None,
) -> Ranked:
    """Return the ``n`` items (at least 1) with the greatest inner products, after the ``offset`` greatest.

    vector: float32 [factors]. without: int32, item rows, ascending, no repeats. eligible: the only items that may be in
    the answer: a mask, bool [items], or item rows, ascending, no repeats; None for all. The result equals that of a
    full sort of the scores as :func:`~service.model.scoring.products.scores_of` computes them. Raises IndexError if
    ``eligible`` has other items.
    """
    scan = scan_of(model)
    if scan:
        at, excluded = np.ascontiguousarray(vector), np.ascontiguousarray(without)
        found = scan.top_n(address(at), n + offset, address(excluded), len(excluded), eligible)
        if found:
            return found.after(offset)
    return blocks.top_n(model, vector, n + offset, without, eligible).after(offset)


def recommend(
    model: Model,
    user: int,
    n: int,
    *,
    offset: int = 0,
    exclude_seen: bool = True,
    exclude: Int32 = NO_ROWS,
    eligible: Eligible | None = None,
) -> Ranked:
    """Return a user's ``n`` best items after the ``offset`` best, without ``exclude`` (item rows in any order).

    ``exclude_seen`` leaves out seen items, if the model has them. eligible: as for :func:`top_n`.
    """
    scan = scan_of(model)
    if scan and not len(exclude):
        without_at, without = scan.seen_of(user) if exclude_seen else (0, 0)
        found = scan.top_n(scan.users_at + user * scan.user_bytes, n + offset, without_at, without, eligible)
        if found:
            return found.after(offset)
    return top_n(
        model,
        model.user_factors[user],
        n,
        offset=offset,
        without=left_out(model, user, exclude_seen=exclude_seen, exclude=exclude),
        eligible=eligible,
    )


def left_out(model: Model, user: int, *, exclude_seen: bool, exclude: Int32) -> Int32:
    """Return what a user is not recommended, int32 item rows, ascending: ``exclude``, and what the user had."""
    seen = model.seen.of(user) if exclude_seen and model.seen else NO_ROWS
    return np.unique(np.concatenate((seen, exclude))) if len(exclude) else seen


def popular(
    model: Model, n: int, *, offset: int = 0, exclude: Int32 = NO_ROWS, eligible: Eligible | None = None
) -> Ranked:
    """Return the ``n`` items that most users had after the ``offset`` first, without ``exclude``.

    The scores are the numbers of users. eligible: as for :func:`top_n`. Raises NoSeenItemsError if the model does not
    know them.
    """
    if model.popularity is None:
        raise NoSeenItemsError("The served model does not include seen items, so it knows no popular items.")
    users = model.popularity.users
    if eligible is not None and not is_mask(eligible) and len(eligible) <= _SORTED_ITEMS:
        order = eligible[np.lexsort((model.item_ids.values[eligible], -users[eligible]))]
        rows, scanned = _walk(order.astype(np.int32, copy=False), offset + n, exclude, None)
    else:
        rows, scanned = _walk(model.popularity.order, offset + n, exclude, eligible)
    return Ranked(rows[offset:], users[rows[offset:]].astype(np.float32), scanned)


def _walk(order: Int32, n: int, exclude: Int32, eligible: Eligible | None) -> tuple[Int32, int]:
    """Return the first ``n`` rows in this order that are eligible and not excluded, and how many were looked at."""
    found, missing, start = [], n, 0
    step = n + len(exclude)
    while missing > 0 and start < len(order):
        part = order[start : start + step]
        if eligible is not None and step > _SORTED_ITEMS:
            eligible = mask_of(eligible, len(order))
        kept = part if eligible is None else part[are_eligible(part, eligible)]
        kept = kept[~np.isin(kept, exclude)] if len(exclude) else kept
        found.append(kept[:missing])
        missing, start, step = missing - len(kept), start + len(part), 2 * step
    return np.concatenate(found) if found else NO_ROWS, start


def item_scores(model: Model, user: int, items: Int32) -> Float32:
    """Return the user's scores of these item rows, float32 [len(items)]."""
    return scores_of(model.item_factors[items], model.user_factors[user])
