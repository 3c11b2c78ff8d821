"""A model as read from an untrusted file, before validation, and helpers for messages about it."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from numpy.typing import NDArray

from service.untrusted import quote

#: Ids in a source: a sequence or array (position i is row i), or a mapping in one direction.
RawIds: TypeAlias = Sequence[Any] | NDArray[Any] | Mapping[Any, Any]


@dataclass(slots=True)
class RawSeen:
    """An unchecked sparse users x items matrix: compressed rows or columns, or coordinates.

    ``layout`` "csr" and "csc" fill ``indptr`` and ``indices``, "coo" fills ``row`` and ``col``.
    ``shape`` is None if the source has none (npz), ``weights`` is None if every pair weighs 1.
    """

    layout: str
    shape: tuple[int, ...] | None
    weights: NDArray[Any] | None
    indptr: NDArray[Any] | None = None
    indices: NDArray[Any] | None = None
    row: NDArray[Any] | None = None
    col: NDArray[Any] | None = None


@dataclass(slots=True)
class RawModel:
    """An unchecked model from an untrusted file: inert arrays, numbers, strings and dicts.

    ``format`` is the name of the file's format, set from the table of formats, not by the reader.
    ``names`` maps components to their names in the source, so that messages use the user's words
    (``{"item_ids": "product_id_map"}``); others have the name used here.
    An ``*_ids`` maps row number -> id, a ``reverse_*_ids`` maps id -> row number; if both are missing and not required,
    the row numbers are the ids. ``missing`` names, in the source's words, every required component that the source
    lacks, ``hint`` what to do about it. ``popularity_only``: the source declares that it has no factors.
    """

    format: str = ""
    user_factors: object | None = None
    item_factors: object | None = None
    user_ids: RawIds | None = None
    item_ids: RawIds | None = None
    reverse_user_ids: Mapping[Any, Any] | None = None
    reverse_item_ids: Mapping[Any, Any] | None = None
    seen: RawSeen | None = None
    item_weights: object | None = None
    activity_discount: object | None = None
    regularization: object | None = None
    alpha: object | None = None
    training_facts: object | None = None
    popularity_only: bool = False
    missing: tuple[str, ...] = ()
    hint: str = ""
    names: dict[str, str] = field(default_factory=dict)


def kind(value: object) -> str:
    """Name a value's type, with its article; the value itself is never printed, because it could be hostile."""
    name = "None" if value is None else getattr(type(value), "described", type(value).__name__)
    return name if value is None else f"{'an' if name[0].lower() in 'aeio' else 'a'} {name}"


def quoted(value: object) -> str:
    """Quote the beginning of a value of any size, even a number with more digits than Python prints."""
    try:
        return quote(reprlib.repr(value))
    except ValueError:  # sys.set_int_max_str_digits
        return "a number of thousands of digits"
