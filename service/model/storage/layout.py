"""The layout of a snapshot: the type and shape of each array, and the range of the numbers that are used as indices.

A snapshot is checked whenever it is opened, which must take milliseconds, even if it has gigabytes: of a long array,
only parts are looked at. An index that is out of range and is not found makes single requests fail, and no more: the
kernel never reads at an index from a file, and NumPy checks each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from service.model.codes import stride_of
from service.model.ids import MAX_ID_BYTES, IdKind
from service.model.storage.array_files import damaged

Arrays = dict[str, NDArray[Any]]

#: An array of more numbers is checked in this many parts of that many numbers, evenly spread.
_MOST_CHECKED = 2**20
_PARTS, _PART = 64, 2**12


class Sizes(Protocol):
    """What a manifest says of its model."""

    @property
    def users(self) -> int:
        """The number of users."""

    @property
    def items(self) -> int:
        """The number of items."""

    @property
    def factors(self) -> int:
        """The number of factors."""

    @property
    def user_id_kind(self) -> IdKind:
        """Whether the ids of users are numbers or text."""

    @property
    def item_id_kind(self) -> IdKind:
        """Whether the ids of items are numbers or text."""

    @property
    def seen_pairs(self) -> int | None:
        """The number of seen pairs, None if unknown."""


class Layout(NamedTuple):
    """The expected type and shape of an array; ``rows`` is one more than the largest index in it, if it has indices."""

    kind: str
    shape: tuple[int, ...]
    rows: int | None = None


def prove_names(directory: Path, names: Iterable[str], sizes: Sizes) -> None:
    """Check that a manifest names the files of a model and no others. Raises SnapshotDamagedError."""
    differing = set(names) ^ layout_of(sizes).keys()
    if differing:
        raise damaged(directory, f"lacks or should not have {', '.join(sorted(differing))}")


def prove_layout(directory: Path, arrays: Arrays, sizes: Sizes) -> None:
    """Compare all arrays with what the manifest says. Raises SnapshotDamagedError."""
    for name, wanted in layout_of(sizes).items():
        _prove(directory / name, arrays[name], wanted)
    if sizes.seen_pairs is not None:
        _prove_indptr(directory / "seen_indptr.npy", arrays["seen_indptr.npy"], sizes.seen_pairs)


def layout_of(sizes: Sizes) -> dict[str, Layout]:
    """Return the layout of each file of a snapshot."""
    users, items, factors, pairs = sizes.users, sizes.items, sizes.factors, sizes.seen_pairs
    layout = {
        "user_ids.npy": Layout(_id_type(sizes.user_id_kind), (users,)),
        "user_factors.npy": Layout("float32", (users, factors)),
        "item_ids.npy": Layout(_id_type(sizes.item_id_kind), (items,)),
        "item_sorter.npy": Layout("int64", (items,), items),
        "item_factors.npy": Layout("float32", (items, factors)),
        "item_norms.npy": Layout("float32", (items,)),
        "item_codes.npy": Layout("int8", (items, stride_of(factors))),
        "item_steps.npy": Layout("float32", (items,)),
        "item_gram.npy": Layout("float32", (factors, factors)),
        "item_weights.npy": Layout("float32", (items,)),
    }
    if pairs is not None:
        layout |= {
            "seen_indptr.npy": Layout("int64", (users + 1,)),
            "seen_items.npy": Layout("int32", (pairs,), items),
            "seen_weights.npy": Layout("float32", (pairs,)),
            "popularity.npy": Layout("int64", (items,)),
            "popularity_order.npy": Layout("int32", (items,), items),
        }
    return layout


def _id_type(kind: IdKind) -> str:
    return "int64" if kind == "int" else "bytes"


def _prove(path: Path, array: NDArray[Any], wanted: Layout) -> None:
    if not _has_type(array, wanted.kind) or array.shape != wanted.shape or not array.flags.c_contiguous:
        raise damaged(path, f"has {array.dtype} {array.shape} instead of {wanted.kind} {wanted.shape}")
    # As unsigned numbers, negative ones are large, so that one pass finds both.
    if wanted.rows is not None and any(
        part.view(f"u{part.itemsize}").max(initial=0) >= wanted.rows for part in _parts(array)
    ):
        raise damaged(path, f"refers to rows beyond {wanted.rows - 1}")


def _has_type(array: NDArray[Any], kind: str) -> bool:
    if kind == "bytes":
        return array.dtype.kind == "S" and 1 <= array.itemsize <= MAX_ID_BYTES
    return bool(array.dtype == kind)


def _prove_indptr(path: Path, indptr: NDArray[np.int64], pairs: int) -> None:
    if indptr[0] != 0 or indptr[-1] != pairs or any((part[1:] < part[:-1]).any() for part in _parts(indptr)):
        raise damaged(path, f"does not ascend from 0 to {pairs}")


def _parts(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield the array, or evenly spread parts of a long one, among them its beginning and its end."""
    if len(array) <= _MOST_CHECKED:
        yield array
        return
    for start in np.linspace(0, len(array) - _PART, _PARTS, dtype=np.int64).tolist():
        yield array[start : start + _PART]
