"""A model in memory: first as read, when nothing about it is certain, then proved by the gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.model.facts import TrainingFacts

Id: TypeAlias = int | str

Float32: TypeAlias = NDArray[np.float32]
Int64: TypeAlias = NDArray[np.int64]
Int32: TypeAlias = NDArray[np.int32]

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
    regularization: object | None = None
    alpha: object | None = None
    training_facts: object | None = None
    popularity_only: bool = False
    missing: tuple[str, ...] = ()
    names: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """What each user already had, as compressed rows: user u had ``items[indptr[u]:indptr[u + 1]]``.

    indptr: int64 [users + 1]; items: int32 [pairs], item rows, ascending within a user, without repeats;
    weights: float32 [pairs], finite.
    """

    indptr: Int64
    items: Int32
    weights: Float32

    def of(self, user: int) -> Int32:
        """Return the item rows of one user's row, ascending."""
        start, stop = self.indptr[user : user + 2].tolist()
        return self.items[start:stop]

    def weights_of(self, user: int) -> Float32:
        """Return the weights beside :meth:`of`."""
        start, stop = self.indptr[user : user + 2].tolist()
        return self.weights[start:stop]


@dataclass(frozen=True, slots=True)
class Factors:
    """A model that has passed the gates, in the source's row order.

    user_factors: float32 [users, factors]; item_factors: float32 [items, factors], all finite. There are 0 factors
    where the source says that it has popularity alone; then ``seen`` is there.
    user_ids, item_ids: int64 or fixed-width UTF-8 bytes, [rows], unique. seen: rows as in the factors.
    regularization and alpha are those of training (implicit's defaults, 0.01 and 1.0, where unknown). item_weights:
    float32 [items], positive: what training multiplied the weights of an item's pairs with; None stands for 1 for each.
    facts: how the model was made, where the source says.
    """

    user_factors: Float32
    item_factors: Float32
    user_ids: NDArray[Any]
    item_ids: NDArray[Any]
    seen: Seen | None
    regularization: float
    alpha: float
    item_weights: Float32 | None = None
    facts: TrainingFacts | None = None
