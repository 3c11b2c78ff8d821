"""Lists of rows as the kernel reads them.

A scan of a list usually ends after a few thousand of its rows, which are far apart in the codes of all items. So a list
that is kept has the codes of its first rows side by side.
"""

from __future__ import annotations

import ctypes
import weakref

import numpy as np

from service.model.codes import Codes, Int8
from service.model.factors import Float32, Int32
from service.model.scoring import kernel
from service.model.scoring.kernel import address

#: Bytes of a head's codes: at 1M x 64, a top 10 of any share of the items is found in the first 5,000 eligible ones,
#: but with 128 factors of similar norms, it takes nearly all.
_HEAD_BYTES = 2**21
#: The heads that one model has at most.
_MOST = 32
_NO_CODES, _NO_STEPS = np.empty((0, 0), np.int8), np.empty(0, np.float32)


class ListedRows:
    """A list and its head at the address ``at``, as long as this and the list live."""

    def __init__(self, rows: Int32, codes: Int8 = _NO_CODES, steps: Float32 = _NO_STEPS) -> None:
        """``codes`` and ``steps`` are those of the first rows."""
        self._head = codes, steps
        self._listed = kernel.CListed(address(rows), len(rows), len(steps), address(codes), address(steps))
        self.at = ctypes.addressof(self._listed)


class Lists:
    """The lists of one model's rows; every method may be called by any thread."""

    def __init__(self, codes: Codes) -> None:
        self._codes = codes
        self._kept: dict[int, ListedRows] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, rows: Int32) -> ListedRows:
        """Return a list; one that cannot be written to is kept as long as it lives, with a head."""
        if rows.flags.writeable:
            return ListedRows(rows)
        return self._kept.get(id(rows)) or self._keep(rows)

    def _keep(self, rows: Int32) -> ListedRows:
        first = rows[: _HEAD_BYTES // self._codes.codes.shape[1]]
        if len(first) and not 0 <= first[0] <= first[-1] < len(self._codes.steps):
            return ListedRows(rows)  # for the kernel to refuse
        kept = ListedRows(rows, self._codes.codes[first], self._codes.steps[first])
        for oldest in list(self._kept)[: max(0, len(self._kept) + 1 - _MOST)]:
            self._kept.pop(oldest, None)
        self._kept[id(rows)] = kept
        weakref.finalize(rows, self._kept.pop, id(rows), None)
        return kept
