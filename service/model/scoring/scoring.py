"""Queries on a model: the public functions of this package.

Rows are those of :class:`service.model.model.Model`; ``Ids.row`` turns an id into a row, which is never negative. Of
equal scores, the earlier row comes first: among items, the one with the greater norm, then the smaller id.
"""

from __future__ import annotations

import math

import numpy as np

from service.errors import NoSeenItemsError
from service.model.factors import Float32, Int32
from service.model.model import Model
from service.model.scoring.folding import explain, fold_in
from service.model.scoring.ranking import NO_ROWS, Bound, Ranked, rank
from service.model.scoring.similarity import similar_items, similar_users

__all__ = [
    "Ranked",
    "explain",
    "fold_in",
    "item_scores",
    "popular",
    "recommend",
    "similar_items",
    "similar_users",
    "top_n",
]

_UNIT_ROUNDOFF = 2.0**-24
_SMALLEST = 2.0**-149


def top_n(model: Model, vector: Float32, n: int, *, offset: int = 0, without: Int32 = NO_ROWS) -> Ranked:
    """Return the ``n`` items (at least 1) with the greatest inner products, after the ``offset`` greatest.

    vector: float32 [factors]. without: int32, item rows, ascending, no repeats. The result equals that of a full sort
    of the scores computed in float32.
    """
    items = model.item_factors

    def score(start: int, stop: int) -> Float32:
        scores: Float32 = np.dot(items[start:stop], vector)
        return scores

    return rank(score, _cauchy_schwarz(model, vector), len(items), n, offset=offset, without=without)


def _cauchy_schwarz(model: Model, vector: Float32) -> Bound:
    """Bound the computed score of an item, and so of all after it, by the product of the norms.

    A float32 inner product of f terms, summed in any order, is off by at most gamma_f |u|'|v|, with
    gamma_k = k u / (1 - k u) and u = 2^-24 (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed.,
    section 3.1), hence at most (1 + gamma_f) ‖u‖ ‖v‖. Four more roundings are allowed for the stored norm, and
    an absolute term for products and norms in the subnormal range, where the relative error is not bounded.
    """
    norms = model.item_norms
    length = math.hypot(*vector.tolist())
    errors = (len(vector) + 4) * _UNIT_ROUNDOFF
    reach = length * (1 + errors / (1 - errors))
    subnormal = 2 * (length + len(vector)) * _SMALLEST if length else 0.0
    return lambda row: norms.item(row) * reach + subnormal


def recommend(
    model: Model,
    user: int,
    n: int,
    *,
    offset: int = 0,
    exclude_seen: bool = True,
    exclude: Int32 = NO_ROWS,
) -> Ranked:
    """Return a user's ``n`` best items after the ``offset`` best, without ``exclude`` (item rows in any order).

    ``exclude_seen`` leaves out seen items, if the model has them.
    """
    seen = model.seen.of(user) if exclude_seen and model.seen else NO_ROWS
    without = np.unique(np.concatenate((seen, exclude))) if len(exclude) else seen
    return top_n(model, model.user_factors[user], n, offset=offset, without=without)


def popular(model: Model, n: int, *, offset: int = 0, exclude: Int32 = NO_ROWS) -> Ranked:
    """Return the ``n`` items that most users had after the ``offset`` first, without ``exclude``.

    The scores are the numbers of users. Raises NoSeenItemsError if the model does not know them.
    """
    if model.popularity is None:
        raise NoSeenItemsError("The served model does not include seen items, so it knows no popular items.")
    head = model.popularity.order[: offset + n + len(exclude)]
    rows = head[~np.isin(head, exclude)][offset : offset + n]
    return Ranked(rows, model.popularity.users[rows].astype(np.float32), scanned=len(head))


def item_scores(model: Model, user: int, items: Int32) -> Float32:
    """Return the user's scores of these item rows, float32 [len(items)]."""
    scores: Float32 = np.dot(model.item_factors[items], model.user_factors[user])
    return scores
