"""The validation of an untrusted model, in a fixed order: the first failure is reported.

Every failure is one sentence that says which component is wrong, and how. The result is a
:class:`~service.model.factors.Factors` that fulfils everything its docstring promises.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import BadDtypeError, BadShapeError, MissingComponentsError, NotFiniteError
from service.model.factors import Factors, Float32
from service.model.facts import prove_facts
from service.model.raw import RawModel, quoted
from service.model.validation.id_gates import prove_ids
from service.model.validation.seen_gates import prove_seen

# implicit's own defaults, for sources that do not state them
_DEFAULT_REGULARIZATION = 0.01
_DEFAULT_ALPHA = 1.0

_ROWS_AT_ONCE = 65_536
LARGEST_PARAMETER = 1e9  # beyond this, fold-in would compute with infinities
_LARGEST_DISCOUNT = 1.0
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_FLOAT32_MIN = float(np.finfo(np.float32).tiny)


def validate(raw: RawModel) -> Factors:
    """Validate a model.

    Raises MissingComponentsError, BadShapeError, BadDtypeError, NotFiniteError, BadIdsError, BadSeenMatrixError.
    """
    _complete(raw)
    user_factors, item_factors = _no_factors(raw) if raw.popularity_only else _factors(raw)
    user_ids, item_ids = prove_ids(raw, len(user_factors), len(item_factors))
    seen = prove_seen(raw, len(user_factors), len(item_factors)) if raw.seen else None
    return Factors(
        user_factors=user_factors,
        item_factors=item_factors,
        user_ids=user_ids,
        item_ids=item_ids,
        seen=seen,
        item_weights=_item_weights(raw.item_weights, len(item_factors)),
        regularization=_number(raw.regularization, "regularization", _DEFAULT_REGULARIZATION),
        alpha=_number(raw.alpha, "alpha", _DEFAULT_ALPHA),
        activity_discount=_number(raw.activity_discount, "activity_discount", 0.0, most=_LARGEST_DISCOUNT),
        facts=prove_facts(raw.training_facts),
    )


def _complete(raw: RawModel) -> None:
    if raw.missing:
        raise MissingComponentsError(f"Model file is missing required components: {list(raw.missing)}{raw.hint}")


def _factors(raw: RawModel) -> tuple[Float32, Float32]:
    users, items = _matrix(raw, "user_factors"), _matrix(raw, "item_factors")
    _same_factors(raw, users, items)
    user_factors, item_factors = _finite(raw, "user_factors", users), _finite(raw, "item_factors", items)
    _scores_stay_finite(user_factors, item_factors)
    return user_factors, item_factors


def _no_factors(raw: RawModel) -> tuple[Float32, Float32]:
    """Return a matrix without columns, with a row per id."""
    assert raw.user_ids is not None
    assert raw.item_ids is not None
    if not len(raw.user_ids) or not len(raw.item_ids):
        raise BadShapeError("user_ids or item_ids is empty; a model has at least one user and one item.")
    return np.zeros((len(raw.user_ids), 0), np.float32), np.zeros((len(raw.item_ids), 0), np.float32)


def _matrix(raw: RawModel, component: str) -> NDArray[Any]:
    """Return a component as a matrix of numbers with at least one row and one column."""
    name, value = raw.names.get(component, component), getattr(raw, component)
    if value is None:
        raise BadShapeError(f"{name} is None: the model was never fitted; call model.fit() before saving it.")
    if not isinstance(value, np.ndarray):
        raise BadDtypeError(f"{name} is a {type(value).__name__}, not an array of numbers.")
    if value.ndim != 2:
        raise BadShapeError(f"{name} has {value.ndim} dimension(s) instead of 2 (rows x factors).")
    if 0 in value.shape:
        raise BadShapeError(f"{name} is empty: {value.shape[0]} rows x {value.shape[1]} factors.")
    return value


def _same_factors(raw: RawModel, users: NDArray[Any], items: NDArray[Any]) -> None:
    if users.shape[1] != items.shape[1]:
        raise BadShapeError(
            f"user_factors has {users.shape[1]} factors and item_factors has {items.shape[1]}; "
            "both must come from the same training."
        )


def _finite(raw: RawModel, component: str, matrix: NDArray[Any]) -> Float32:
    """Return a matrix as float32 in C order, if every number in it is finite (also as float32)."""
    name = raw.names.get(component, component)
    if matrix.dtype.kind != "f":
        raise BadDtypeError(f"{name} has the type {matrix.dtype} instead of float32 or float64.")
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(matrix, dtype=np.float32)
    for start in range(0, len(result), _ROWS_AT_ONCE):
        bad = ~np.isfinite(result[start : start + _ROWS_AT_ONCE]).all(axis=1)
        if bad.any():
            row = start + int(bad.argmax())
            raise NotFiniteError(f"{name} has NaN or infinite numbers, first in row {row}; train the model again.")
    return result


def _scores_stay_finite(users: Float32, items: Float32) -> None:
    """Reject factors with which a score, or V'V in fold-in, could overflow, or V'V would vanish."""
    longest = _largest_norm(items)
    largest = max(_largest_norm(users) * longest, len(items) * longest * longest)
    if largest > _FLOAT32_MAX:
        raise NotFiniteError(
            f"The factors are so large that sums of their products can reach {largest:.3g}, which float32 cannot "
            "hold; train the model again with regularization."
        )
    if 0 < longest * longest < _FLOAT32_MIN:
        raise NotFiniteError(
            f"The item factors are so small (the largest norm is {longest:.3g}) that float32 cannot hold their "
            "products; train the model again with less regularization."
        )


def _largest_norm(matrix: Float32) -> float:
    return float(np.sqrt(np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64).max()))


def _item_weights(value: object, items: int) -> Float32 | None:
    """Return a positive weight for each item, if the source has weights."""
    if value is None:
        return None
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        raise BadDtypeError("item_weights is not a float array; leave it out.")
    if value.shape != (items,):
        raise BadShapeError(f"item_weights has the shape {value.shape} instead of ({items},), one for each item.")
    weights: Float32 = value.astype(np.float32)
    if not ((weights > 0) & (weights <= LARGEST_PARAMETER)).all():
        raise NotFiniteError(f"item_weights must be above 0 and at most {LARGEST_PARAMETER:g}.")
    return weights


def _number(value: object, name: str, default: float, most: float = LARGEST_PARAMETER) -> float:
    """Return a training parameter: finite and not negative, or the default if the source has none."""
    if value is None:
        return default
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise BadDtypeError(f"{name} is a {type(value).__name__}, not a number.")
    if not 0 <= value <= most:
        raise NotFiniteError(f"{name} is {quoted(value)}; it must be from 0 to {most:g}.")
    return float(value)
