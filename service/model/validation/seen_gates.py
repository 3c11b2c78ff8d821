"""The validation of the seen matrix, which rejects what could make a C library read out of bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import BadSeenMatrixError
from service.model.factors import Float32, Int64, Seen
from service.model.raw import RawModel, RawSeen, quoted


def prove_seen(raw: RawModel, users: int, items: int) -> Seen:
    """Return the seen items as compressed rows, ascending and without repeats (repeated pairs are summed).

    Raises BadSeenMatrixError. Uses only NumPy, because SciPy trusts the arrays it is given.
    """
    assert raw.seen is not None
    name = raw.names.get("seen", "seen")
    _check_shape(raw.seen, name, users, items)
    user, item = _coordinates(raw.seen, name, users, items)
    weights = _weights(raw.seen, name, len(user))
    return _compressed(user, item, weights, users, items, name)


def _check_shape(seen: RawSeen, name: str, users: int, items: int) -> None:
    if seen.shape is None or seen.shape == (users, items):
        return
    if seen.shape == (items, users):
        raise BadSeenMatrixError(
            f"{name} is {items} x {users} (items x users); it must be users x items: save {name}.T.tocsr()."
        )
    raise BadSeenMatrixError(
        f"{name} has the shape {quoted(seen.shape)}; the factors have {users} users x {items} items."
    )


def _coordinates(seen: RawSeen, name: str, users: int, items: int) -> tuple[Int64, Int64]:
    """Return the user row and the item row of every stored pair."""
    if seen.layout == "coo":
        user, item = _whole(seen.row, f"{name}.row"), _whole(seen.col, f"{name}.col")
        if len(user) != len(item):
            raise BadSeenMatrixError(f"{name} has {len(user)} row numbers but {len(item)} column numbers.")
    elif seen.layout == "csr":
        user, item = _expand(seen, name, users, items)
    else:
        item, user = _expand(seen, name, items, users)
    _in_range(user, "user", name, users)
    _in_range(item, "item", name, items)
    return user, item


def _expand(seen: RawSeen, name: str, rows: int, columns: int) -> tuple[Int64, Int64]:
    """Return the compressed axis and the other one, a number for every stored pair."""
    indptr, indices = _whole(seen.indptr, f"{name}.indptr"), _whole(seen.indices, f"{name}.indices")
    if len(indptr) != rows + 1:
        hint = (
            ", as of an items x users matrix: save the arrays of its .T.tocsr()" if len(indptr) == columns + 1 else ""
        )
        raise BadSeenMatrixError(f"{name}.indptr has {len(indptr)} entries instead of {rows + 1} (rows + 1){hint}.")
    if indptr[0] != 0 or (indptr[1:] < indptr[:-1]).any():
        raise BadSeenMatrixError(f"{name}.indptr must start at 0 and never decrease.")
    if indptr[-1] != len(indices):
        raise BadSeenMatrixError(f"{name}.indptr ends at {indptr[-1]}; there are {len(indices)} indices.")
    # Only now, because the differences of numbers that are out of order can wrap around.
    return np.repeat(np.arange(rows, dtype=np.int64), np.diff(indptr)), indices


def _whole(values: NDArray[Any] | None, name: str) -> Int64:
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind not in "iu":
        raise BadSeenMatrixError(f"{name} is not a one-dimensional array of whole numbers.")
    return values.astype(np.int64, copy=False)


def _in_range(values: Int64, what: str, name: str, rows: int) -> None:
    bad = (values < 0) | (values >= rows)
    if bad.any():
        raise BadSeenMatrixError(f"{name} refers to {what} row {values[bad.argmax()]}; rows are 0 to {rows - 1}.")


def _weights(seen: RawSeen, name: str, pairs: int) -> Float32:
    if seen.weights is None:
        return np.ones(pairs, np.float32)
    if not isinstance(seen.weights, np.ndarray) or seen.weights.ndim != 1 or seen.weights.dtype.kind not in "fiub":
        raise BadSeenMatrixError(f"The weights of {name} are not a one-dimensional array of numbers.")
    if len(seen.weights) != pairs:
        raise BadSeenMatrixError(f"{name} has {pairs} pairs but {len(seen.weights)} weights.")
    with np.errstate(over="ignore"):
        weights = seen.weights.astype(np.float32)
    return weights


def _compressed(user: Int64, item: Int64, weights: Float32, users: int, items: int, name: str) -> Seen:
    pair = user * items + item
    if not (pair[1:] > pair[:-1]).all():  # SciPy writes sorted indices, and sorting costs memory
        pair, weights = _summed(pair, weights)
    if not np.isfinite(weights).all():  # only now, because sums can overflow
        raise BadSeenMatrixError(f"{name} has a weight, or a sum of the weights of a pair, that is NaN or infinite.")
    indptr = np.searchsorted(pair, np.arange(users + 1, dtype=np.int64) * items)
    return Seen(indptr.astype(np.int64), (pair % items).astype(np.int32), weights)


def _summed(pair: Int64, weights: Float32) -> tuple[Int64, Float32]:
    """Return the pairs in ascending order, each once, with the sum of its weights."""
    order = np.argsort(pair, kind="stable")
    pair = pair[order]
    first = np.flatnonzero(np.concatenate(([True], pair[1:] > pair[:-1])))
    with np.errstate(over="ignore", invalid="ignore"):
        return pair[first], np.add.reduceat(weights[order], first)
