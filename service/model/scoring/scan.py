"""The exact top-N by the kernel: its view of a model, and working memory for each thread."""

from __future__ import annotations

import ctypes
import threading
from typing import TypeAlias, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from service.model.factors import Int32
from service.model.model import Model
from service.model.scoring import kernel
from service.model.scoring.kernel import address
from service.model.scoring.lists import Lists
from service.model.scoring.ranking import Eligible, Ranked, is_mask

_FLOAT_BYTES = 4

Counts = TypeVar("Counts", int, NDArray[np.int64])

#: The addresses of a list and of a mask, and what holds their memory.
_Places: TypeAlias = tuple[int | None, int | None, object]
_EVERYWHERE: _Places = (None, None, None)


class Scan:
    """One model's arrays by their addresses, which are looked up once: at every query they would take as long as it."""

    def __init__(self, model: Model, library: ctypes.CDLL) -> None:
        codes, items = model.codes, model.item_factors
        self.library = library
        self.rows, self.factors = items.shape
        self.stride = codes.codes.shape[1]
        self._kept_alive = codes, items, model.item_norms, model.user_factors, model.seen
        self._model = kernel.CModel(
            *(self.rows, self.factors, self.stride, codes.rho),
            *(address(codes.codes), address(codes.steps), address(model.item_norms), address(items)),
        )
        self.model_at = ctypes.addressof(self._model)
        self.users_at, self.user_bytes = address(model.user_factors), _FLOAT_BYTES * self.factors
        self._lists = Lists(codes)
        self.seen, self.seen_at = model.seen, address(model.seen.items) if model.seen else 0

    def seen_of(self, user: int) -> tuple[int, int]:
        """Return the address and the number of the item rows that a user had."""
        if self.seen is None:
            return 0, 0
        start, stop = self.seen.indptr[user : user + 2].tolist()
        if not 0 <= start <= stop <= len(self.seen.items):  # in a snapshot that was damaged
            return 0, 0
        return self.seen_at + _FLOAT_BYTES * start, stop - start

    def seen_of_all(self, users: Int32) -> tuple[NDArray[np.uint64], Int32]:
        """Return the same for many users: uint64 and int32, [users]."""
        if self.seen is None:
            return np.zeros(len(users), np.uint64), np.zeros(len(users), np.int32)
        starts, stops = self.seen.indptr[users], self.seen.indptr[users + 1]
        good = (starts >= 0) & (starts <= stops) & (stops <= len(self.seen.items))
        places = self.seen_at + _FLOAT_BYTES * np.where(good, starts, 0)
        return places.astype(np.uint64), np.where(good, stops - starts, 0).astype(np.int32)

    def top_n(
        self, vector_at: int, n: int, without_at: int, without: int, eligible: Eligible | None = None
    ) -> Ranked | None:
        """Return the ``n`` best; None where the numbers are too large for the kernel.

        vector_at: where the factors of the vector are; without_at, without: where the rows to leave out are, ascending,
        and how many. Raises IndexError where an eligible row is not one.
        """
        n = min(n, self.rows)
        listed_at, mask_at, _held = _EVERYWHERE if eligible is None else self._by_kind(eligible)
        memory = _memory.of(self, n)
        found = self.library.scan_top_n(
            *(self.model_at, vector_at, n, without_at, without, listed_at, mask_at),
            *(memory.rows_at, memory.scores_at, memory.counts_at, memory.scratch_at),
        )
        if found >= 0:
            counts = memory.counts
            return Ranked(memory.rows[:found].copy(), memory.scores[:found].copy(), *self.cost(*counts.tolist()))
        if found == kernel.NOT_A_ROW:
            raise IndexError(f"An eligible row is not one of the {self.rows} item rows.")
        return None

    def cost(self, scanned: Counts, scored: Counts) -> tuple[Counts, Counts]:
        """Return how many rows were scanned, and how many bytes were read for that, and for the rows scored."""
        return scanned, scanned * (self.stride + _FLOAT_BYTES) + scored * self.user_bytes

    def _by_kind(self, eligible: Eligible) -> _Places:
        """Return where the eligible rows are listed or marked."""
        if is_mask(eligible):
            if eligible.shape != (self.rows,):
                raise IndexError(f"The mask has the shape {eligible.shape}; there are {self.rows} item rows.")
            mask = np.ascontiguousarray(eligible)
            return None, address(mask), mask
        rows = np.ascontiguousarray(eligible, np.int32)
        listed = self._lists.of(rows)
        return listed.at, None, (rows, listed)


class _Memory(threading.local):
    """What a scan of this thread writes to: its scratch and its answer."""

    def __init__(self) -> None:
        self.n = self.stride = 0
        self.counts = np.zeros(2, np.int64)
        self.counts_at = address(self.counts)

    def of(self, scan: Scan, n: int) -> _Memory:
        """Return this memory, large enough for ``n`` rows."""
        if n > self.n or scan.stride > self.stride:
            self._grow(scan, max(n, self.n), max(scan.stride, self.stride))
        return self

    def _grow(self, scan: Scan, n: int, stride: int) -> None:
        self.scratch = np.empty(scan.library.scan_scratch_bytes(1, stride, n), np.uint8)
        self.rows, self.scores = np.empty(n, np.int32), np.empty(n, np.float32)
        self.scratch_at, self.rows_at, self.scores_at = map(address, (self.scratch, self.rows, self.scores))
        self.n, self.stride = n, stride


_memory = _Memory()
_scans: WeakKeyDictionary[Model, Scan] = WeakKeyDictionary()


def scan_of(model: Model) -> Scan | None:
    """Return the kernel's view of a model, which lives as long as it; None if there is no kernel or no factor."""
    if kernel.library is None or model.limited:
        return None
    scan = _scans.get(model)
    if scan is None:
        scan = _scans[model] = Scan(model, kernel.library)
    return scan
