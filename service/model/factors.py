"""A validated model, in the source's row order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.model.facts import TrainingFacts

Id: TypeAlias = int | str

Float32: TypeAlias = NDArray[np.float32]
Int64: TypeAlias = NDArray[np.int64]
Int32: TypeAlias = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Seen:
    """The seen items of each user, as compressed rows: user u had ``items[indptr[u]:indptr[u + 1]]``.

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

    def users_of_items(self, items: int) -> Int64:
        """Return how many users had each of so many items, int64 [items]: only a weight above 0 means that one did."""
        return np.bincount(self.items[self.weights > 0], minlength=items).astype(np.int64)

    def weights_of(self, user: int) -> Float32:
        """Return the weights of the items in :meth:`of`."""
        start, stop = self.indptr[user : user + 2].tolist()
        return self.weights[start:stop]


@dataclass(frozen=True, slots=True)
class Factors:
    """A model that has passed validation, in the source's row order.

    user_factors: float32 [users, factors]; item_factors: float32 [items, factors], all finite. A popularity-only model
    has 0 factors, and ``seen`` is not None. user_ids, item_ids: int64 or fixed-width UTF-8 bytes, [rows], unique. seen:
    rows as in the factors. regularization and alpha are those of training (implicit's defaults, 0.01 and 1.0, if
    unknown). item_weights: float32 [items], positive: the factors by which training multiplied the weights of each
    item's pairs; None means 1 for all. activity_discount: training divided a user's weights by the number of the user's
    items to this power. facts: how the model was made, if the source says so.
    """

    user_factors: Float32
    item_factors: Float32
    user_ids: NDArray[Any]
    item_ids: NDArray[Any]
    seen: Seen | None
    regularization: float
    alpha: float
    item_weights: Float32 | None = None
    activity_discount: float = 0.0
    facts: TrainingFacts | None = None
