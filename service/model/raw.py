"""A model as read from an untrusted file, when nothing about it is certain, and words for sentences about it."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from numpy.typing import NDArray

_LONGEST = 80

#: Ids as a source gives them: position i is row i (a sequence or array), or a mapping in one direction.
RawIds: TypeAlias = Sequence[Any] | NDArray[Any] | Mapping[Any, Any]


@dataclass(slots=True)
class RawSeen:
    """A sparse users x items matrix as read: compressed rows or columns, or coordinates; nothing is checked.

    ``layout`` "csr" and "csc" fill ``indptr`` and ``indices``, "coo" fills ``row`` and ``col``.
    ``shape`` is None where the source does not state one (npz), ``weights`` where every pair weighs 1.
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
    """A model as read from an untrusted file: inert arrays, numbers, strings and dicts, not yet checked.

    ``format`` is the name of the file's format, which is known to the table of formats and not to the reader.
    ``names`` says what each component is called in the source, so that a gate can speak the user's language
    (``{"item_ids": "product_id_map"}``); a component without an entry is called as here.
    An ``*_ids`` maps row number -> id, a ``reverse_*_ids`` maps id -> row number; where neither is there and
    the format does not require them, the row numbers are the ids. ``missing`` names, in the source's words,
    every component that the format requires and the source lacks. ``popularity_only``: there are no factors, and
    the source says so.
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
    names: dict[str, str] = field(default_factory=dict)


def shown(text: str) -> str:
    """Make text of an untrusted source fit to print: one line, at most 80 characters."""
    cut = text[:_LONGEST] + ("…" if len(text) > _LONGEST else "")
    return "".join(character if character.isprintable() else "?" for character in cut)


def kind(value: object) -> str:
    """Name what a value is, with its article; the value itself is never printed, it could be made to explode."""
    name = "None" if value is None else type(value).__name__
    return name if value is None else f"{'an' if name[0].lower() in 'aeio' else 'a'} {name}"


def quoted(value: object) -> str:
    """Quote the beginning of a value that may be of any size, numbers of more digits than Python prints included."""
    try:
        return shown(reprlib.repr(value))
    except ValueError:  # sys.set_int_max_str_digits
        return "a number of thousands of digits"
