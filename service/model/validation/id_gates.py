"""The validation of ids: each row has one id, each id one row, and every id can be served."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import BadIdsError
from service.model.ids import MAX_ID_BYTES
from service.model.raw import RawIds, RawModel, kind, quoted

_REMEDIES = {
    "UUID": "save ids as text, str(u)",
    "float": "save whole numbers as int, and leave out missing ones",
    "NoneType": "leave out what has no id",
    "bytes": "save text, id.decode()",
    "tuple": "save one number or text",
}
_INT64 = np.iinfo(np.int64)


def prove_ids(raw: RawModel, users: int, items: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the ids of all user rows and of all item rows: int64 or fixed-width bytes, unique.

    Raises BadIdsError.
    """
    _refuse_swapped(raw, users, items)
    return _side(raw, "user_ids", users), _side(raw, "item_ids", items)


def _refuse_swapped(raw: RawModel, users: int, items: int) -> None:
    user_ids, item_ids = _count(raw, "user_ids"), _count(raw, "item_ids")
    if user_ids is None or item_ids is None or (user_ids, item_ids) == (users, items):
        return
    if (user_ids, item_ids) == (items, users):
        raise BadIdsError(
            f"Users and items look swapped: {users} user rows with {user_ids} user ids and "
            f"{items} item rows with {item_ids} item ids; exchange the id maps (or the factors)."
        )


def _count(raw: RawModel, component: str) -> int | None:
    ids = getattr(raw, component)
    ids = getattr(raw, "reverse_" + component) if ids is None else ids
    return None if ids is None else len(ids)


def _side(raw: RawModel, component: str, rows: int) -> NDArray[Any]:
    """Return the ids of one side from either direction of the map; if both exist, they must agree."""
    name, back_name = (raw.names.get(key, key) for key in (component, "reverse_" + component))
    forward: RawIds | None = getattr(raw, component)
    backward: Mapping[Any, Any] | None = getattr(raw, "reverse_" + component)
    said = []
    if forward is not None:
        said.append((_forward(forward, name, rows), name))
    if backward is not None:
        said.append((_backward(backward, back_name, rows), back_name))
    if not said:
        return np.arange(rows, dtype=np.int64)
    if len(said) == 2 and said[0][0] != said[1][0]:
        raise BadIdsError(f"{name} and {back_name} contradict each other; write both from the same ids.")
    return _as_array(*said[0])


# A map's name says its direction, but many are written the other way round. That is accepted if it is unambiguous: one
# side is row numbers and the other cannot be.


def _forward(ids: RawIds, name: str, rows: int) -> list[Any]:
    """Return the id of each row, given row -> id."""
    if isinstance(ids, np.ndarray):
        if ids.ndim != 1:
            raise BadIdsError(f"{name} has {ids.ndim} dimensions instead of 1.")
        ids = ids.tolist()
    _right_length(len(ids), name, rows)
    if not isinstance(ids, Mapping):
        return list(ids)
    turned = not _are_rows(ids.keys(), rows) and _are_rows(ids.values(), rows)
    return _placed(((row, identity) for identity, row in ids.items()) if turned else ids.items(), name, rows)


def _backward(ids: Mapping[Any, Any], name: str, rows: int) -> list[Any]:
    """Return the id of each row, given id -> row."""
    _right_length(len(ids), name, rows)
    turned = not _are_rows(ids.values(), rows) and _are_rows(ids.keys(), rows)
    return _placed(ids.items() if turned else ((row, identity) for identity, row in ids.items()), name, rows)


def _placed(pairs: Iterable[tuple[Any, Any]], name: str, rows: int) -> list[Any]:
    """Return the ids in row order, each row filled once."""
    found: list[Any] = [None] * rows
    for row, identity in pairs:
        if type(row) is not int or not 0 <= row < rows:
            raise BadIdsError(f"{name} has the row number {quoted(row)}; rows are whole numbers from 0 to {rows - 1}.")
        if found[row] is not None:
            raise BadIdsError(
                f"{name} gives row {row} to {quoted(found[row])} and to {quoted(identity)}; ids must be unique."
            )
        found[row] = identity
    return found


def _right_length(length: int, name: str, rows: int) -> None:
    if length != rows:
        raise BadIdsError(f"{name} has {length} ids for {rows} rows of factors; it must have one for each.")


def _are_rows(values: Any, rows: int) -> bool:
    return all(type(value) is int and 0 <= value < rows for value in values)


def _as_array(ids: list[Any], name: str) -> NDArray[Any]:
    kinds = {type(identity) for identity in ids}
    if kinds == {int}:
        values: NDArray[Any] = _numbers(ids, name)
    elif kinds == {str}:
        values = _texts(ids, name)
    else:
        raise _mixed(ids, name)
    _unique(values, ids, name)
    return values


def _mixed(ids: list[Any], name: str) -> BadIdsError:
    """Return the error for the first id that is neither, or not what the first is."""
    row = next((row for row, identity in enumerate(ids) if type(identity) not in {int, str}), None)
    if row is not None:
        remedy = _REMEDIES.get(type(ids[row]).__name__, "an id is a whole number or text")
        return BadIdsError(f"{name} has {kind(ids[row])} in row {row}; {remedy}.")
    row = next(row for row, identity in enumerate(ids) if type(identity) is not type(ids[0]))
    return BadIdsError(
        f"{name} has ids of type int and str, first in row {row}; all must be int, or all str: save text, str(id)."
    )


def _numbers(ids: list[int], name: str) -> NDArray[np.int64]:
    for identity in (min(ids), max(ids)):
        if not _INT64.min <= identity <= _INT64.max:
            raise BadIdsError(f"{name} has the id {quoted(identity)}, which does not fit in 64 bits; use a str id.")
    return np.array(ids, np.int64)


def _texts(ids: list[str], name: str) -> NDArray[np.bytes_]:
    return np.array([_encoded(identity, row, name) for row, identity in enumerate(ids)], np.bytes_)


def _encoded(identity: str, row: int, name: str) -> bytes:
    try:
        encoded = identity.encode()
    except UnicodeEncodeError:
        raise BadIdsError(f"{name} has an id in row {row} that is not valid text (a lone surrogate).") from None
    if not 1 <= len(encoded) <= MAX_ID_BYTES:
        raise BadIdsError(f"{name} has an id of {len(encoded)} bytes in row {row}; 1 to {MAX_ID_BYTES} are allowed.")
    if b"\0" in encoded:
        raise BadIdsError(f"{name} has an id with a NUL character in row {row}, which cannot be stored.")
    return encoded


def _unique(values: NDArray[Any], ids: list[Any], name: str) -> None:
    order = np.argsort(values, kind="stable")
    same = values[order[1:]] == values[order[:-1]]
    if same.any():
        first = int(same.argmax())
        row, again = int(order[first]), int(order[first + 1])
        raise BadIdsError(
            f"{name} has the id {quoted(ids[row])} for row {row} and for row {again}; ids must be unique."
        )
