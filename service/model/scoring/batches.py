"""Recommendations for many users, who share every chunk of the scan while it is in the processor's cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.model.factors import Int32
from service.model.model import Model
from service.model.scoring import blocks, kernel
from service.model.scoring.kernel import address
from service.model.scoring.ranking import NO_ROWS, Eligible, Mask, Ranked, mask_of
from service.model.scoring.scan import Scan, scan_of
from service.model.scoring.scoring import left_out

#: The number of users that share a chunk; more would gain nothing.
GROUP = 32
# With a large n, 32 searches would take 40 MB.
_SCRATCH_BYTES = 2**23
_CHUNK = 64
# A turn takes some 5 ms.
_PRODUCTS_PER_TURN = 2**27


def recommend_many(
    model: Model,
    users: Int32,
    n: int,
    *,
    offset: int = 0,
    exclude_seen: bool = True,
    exclude: Int32 = NO_ROWS,
    eligible: Eligible | None = None,
) -> Iterator[list[Ranked]]:
    """Yield the answers of :func:`~service.model.scoring.scoring.recommend` for these users, in order.

    users: int32, user rows. After each turn of some milliseconds there is a list of what it found, which may be empty;
    who asks no further stops the scan.
    """
    scan, mask = scan_of(model), None if eligible is None else mask_of(eligible, len(model.item_factors))
    size = _group_size(scan, n + offset) if scan else 1
    for start in range(0, len(users), size):
        some = users[start : start + size]
        group = scan and _Group(scan, some, n + offset, _lists(scan, model, some, exclude_seen, exclude))
        if group and group.begin():
            yield from ([ranked.after(offset) for ranked in found] for found in group.turns(mask))
        else:
            for user in some.tolist():
                without = left_out(model, user, exclude_seen=exclude_seen, exclude=exclude)
                found = blocks.top_n(model, model.user_factors[user], n + offset, without, mask)
                yield [found.after(offset)]


def _group_size(scan: Scan, n: int) -> int:
    """Return how many users share a chunk: as many as gain from it, and have room to work in."""
    bytes_each: int = scan.library.scan_scratch_bytes(1, scan.stride, min(n, scan.rows))
    return max(1, min(GROUP, _SCRATCH_BYTES // bytes_each))


class _Lists(NamedTuple):
    """Ascending rows, one list for each user: where it is (uint64), how long (int32), and what holds it in memory."""

    places: NDArray[np.uint64]
    lengths: Int32
    held: object = None


def _lists(scan: Scan, model: Model, users: Int32, exclude_seen: bool, exclude: Int32) -> _Lists:
    """Return what each user is not recommended."""
    if not len(exclude):
        return _Lists(*scan.seen_of_all(users)) if exclude_seen else _no_lists(len(users))
    rows = [left_out(model, user, exclude_seen=exclude_seen, exclude=exclude) for user in users.tolist()]
    return _Lists(np.array([address(each) for each in rows], np.uint64), np.array(list(map(len, rows)), np.int32), rows)


def _no_lists(count: int) -> _Lists:
    return _Lists(np.zeros(count, np.uint64), np.zeros(count, np.int32))


class _Group:
    """The searches for some users, and the memory that they work in."""

    def __init__(self, scan: Scan, users: Int32, n: int, without: _Lists) -> None:
        self._scan, self._library, self._without = scan, scan.library, without
        self._count, self._n = len(users), min(n, scan.rows)
        scratch_bytes = self._library.scan_scratch_bytes(self._count, scan.stride, self._n)
        self._scratch = np.empty(scratch_bytes, np.uint8)
        self._common = scan.model_at, self._count, self._n
        self._vectors = (scan.users_at + users.astype(np.int64) * scan.user_bytes).astype(np.uint64)

    def begin(self) -> bool:
        """Return whether the kernel takes all of them."""
        arguments = [address(array) for array in (self._vectors, *self._without[:2], self._scratch)]
        return bool(self._library.scan_many_begin(*self._common, *arguments) != kernel.DECLINED)

    def turns(self, mask: Mask | None) -> Iterator[list[Ranked]]:
        """Scan the rows a part at a time; yield nothing after each, and all that was found in the end."""
        rows, scratch_at = self._scan.rows, address(self._scratch)
        mask_at = None if mask is None else address(mask := np.ascontiguousarray(mask))
        step = max(1, _PRODUCTS_PER_TURN // (self._count * self._scan.stride * _CHUNK)) * _CHUNK
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            if not self._library.scan_many_rows(*self._common, start, stop, mask_at, scratch_at) or stop == rows:
                break
            yield []
        yield self._found()

    def _found(self) -> list[Ranked]:
        rows, scores = np.empty((self._count, self._n), np.int32), np.empty((self._count, self._n), np.float32)
        found, counts = np.empty(self._count, np.int32), np.empty((self._count, 2), np.int64)
        written = [address(array) for array in (rows, scores, found, counts, self._scratch)]
        self._library.scan_many_end(*self._common, *written)
        scanned, read = self._scan.cost(*counts.T)
        of_each = zip(found.tolist(), scanned.tolist(), read.tolist(), strict=True)
        return [
            Ranked(rows[place, :length], scores[place, :length], *cost) for place, (length, *cost) in enumerate(of_each)
        ]
