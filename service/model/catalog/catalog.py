"""A catalog in memory: titles, availability and attributes of items, as arrays that may be mapped from disk.

A catalog belongs to ids, not to a model, so it stays valid for the next model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.model.factors import Int64

#: The type of an attribute, or of the values of a list.
Kind: TypeAlias = Literal["bool", "number", "date", "text"]

#: A date that is missing; see :class:`Column`.
NO_DATE = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """Texts, one after another: number i is ``text[starts[i]:starts[i + 1]]``, in UTF-8.

    starts: int64 [words + 1]. text: uint8.
    """

    starts: Int64
    text: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def at(self, places: NDArray[np.integer[Any]]) -> list[str]:
        """Return the texts with these numbers."""
        starts, ends, text = self.starts.take(places).tolist(), self.starts.take(places + 1).tolist(), self.text.data
        return [str(text[start:end], "utf-8") for start, end in zip(starts, ends, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """An attribute: one value for each row of the catalog, or a list of values.

    values: of bools int8 (1, 0, or -1 where missing); of numbers float64 (NaN where missing); of dates int64
    microseconds since 1970, UTC (NO_DATE where missing); of texts int32, their number among ``words`` (-1 where
    missing). starts: int64 [rows + 1] if this is a list: row i has the values ``starts[i]`` to ``starts[i + 1]``, none
    of them missing; an empty list is the same as a missing value. words: the texts that occur, ascending by UTF-8
    bytes, without repeats. frequent: of bools and texts, some that most items have, the most frequent first; only known
    of a catalog from disk.
    """

    kind: Kind
    values: NDArray[Any]
    starts: Int64 | None = None
    words: Words | None = None
    frequent: Sequence[bool | str] = ()

    @property
    def is_list(self) -> bool:
        """Whether each item has a list of values."""
        return self.starts is not None


class Account(msgspec.Struct, frozen=True):
    """What became of a file's rows and columns.

    left_out: the number of rows that were left out, by reason. repeated: the number of rows that do not count because a
    later one has the same id. remarks: sentences about columns, with marks around what is quoted from the file.
    """

    left_out: dict[str, int] = {}
    repeated: int = 0
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """What is known of items, one row each.

    ids: fixed-width bytes (UTF-8), ascending, without repeats, [rows]. titles: one for each row, "" where there is
    none; None if there are none at all. available: bool [rows]; None if all are. columns: attributes by name.
    account: what became of its file. directory: where the catalog was opened.
    """

    ids: NDArray[Any]
    titles: Words | None = None
    available: NDArray[np.bool_] | None = None
    columns: Mapping[str, Column] = field(default_factory=dict)
    account: Account = field(default_factory=Account)
    directory: Path | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def version(self) -> str:
        """The first 16 hex digits of its file's sha256, which its directory is named by; "" in memory alone."""
        return self.directory.name.split("-")[1] if self.directory else ""
