"""Recommendations for many users, who share every chunk of the scan while it is in the processor's cache."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from service.model.factors import Int32
from service.model.model import Model
from service.model.scoring import kernel
from service.model.scoring.ranking import NO_ROWS, Eligible, Ranked
from service.model.scoring.scan import Scan, address, scan_of
from service.model.scoring.scoring import left_out, recommend

#: How many users share a chunk: what a search of each keeps stays in the cache beside it.
GROUP = 32
_CHUNK = 64
# A turn takes some 5 ms.
_PRODUCTS_PER_TURN = 2**27

_Addresses = NDArray[np.uint64]


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
    scan, options = scan_of(model), {"exclude_seen": exclude_seen, "exclude": exclude}
    mask = _mask(eligible, len(model.item_factors))
    for start in range(0, len(users), GROUP):
        group = _Group(scan, model, users[start : start + GROUP], n + offset, **options) if scan else None
        if group and group.begin():
            yield from ([ranked.after(offset) for ranked in found] for found in group.turns(mask))
        else:
            for user in users[start : start + GROUP].tolist():
                yield [recommend(model, user, n, offset=offset, eligible=eligible, **options)]


def _mask(eligible: Eligible | None, rows: int) -> NDArray[np.bool_] | None:
    """Return a mask for whatever says which rows are eligible. Raises IndexError where it is of other rows."""
    if eligible is None or (eligible.dtype == np.bool_ and eligible.shape == (rows,)):
        return eligible
    mask = np.zeros(rows, np.bool_)
    mask[eligible] = True
    return mask


class _Group:
    """The searches for some users, and the memory that they work in."""

    def __init__(self, scan: Scan, model: Model, users: Int32, n: int, *, exclude_seen: bool, exclude: Int32) -> None:
        self._scan, self._library = scan, scan.library
        self._count, self._n = len(users), min(n, scan.rows)
        bytes_each = self._library.scan_scratch_bytes(scan.stride, self._n)
        self._scratch = np.empty(self._count * bytes_each, np.uint8)
        self._common = scan.model_at, self._count, self._n
        self._vectors = (scan.users_at + users.astype(np.int64) * scan.user_bytes).astype(np.uint64)
        self._withouts, self._lengths, self._held = _left_out(
            scan, model, users, exclude_seen=exclude_seen, exclude=exclude
        )

    def begin(self) -> bool:
        """Return whether the kernel takes all of them."""
        arguments = map(address, (self._vectors, self._withouts, self._lengths, self._scratch))
        return bool(self._library.scan_many_begin(*self._common, *arguments) != kernel.DECLINED)

    def turns(self, mask: NDArray[np.bool_] | None) -> Iterator[list[Ranked]]:
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
        self._library.scan_many_end(*self._common, *map(address, (rows, scores, found, counts, self._scratch)))
        return [
            Ranked(rows[place, :length], scores[place, :length], *self._scan.cost(*cost))
            for place, (length, cost) in enumerate(zip(found.tolist(), counts.tolist(), strict=True))
        ]


def _left_out(
    scan: Scan, model: Model, users: Int32, *, exclude_seen: bool, exclude: Int32
) -> tuple[_Addresses, Int32, object]:
    """Return where the rows to leave out are for each user, how many these are, and what holds them in memory."""
    if not len(exclude):
        places = [scan.seen_of(user) if exclude_seen else (0, 0) for user in users.tolist()]
        return np.array([at for at, _ in places], np.uint64), np.array([length for _, length in places], np.int32), None
    rows = [left_out(model, user, exclude_seen=exclude_seen, exclude=exclude) for user in users.tolist()]
    return np.array(list(map(address, rows)), np.uint64), np.array(list(map(len, rows)), np.int32), rows
