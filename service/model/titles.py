"""Titles of items, for people to read: from a CSV file to arrays on disk that are mapped into memory.

Titles belong to ids, not to a model: the same file serves whatever model comes next. They stand in a directory
of arrays as a snapshot does, and a process that serves holds no object for any of them.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.errors import BadTitlesError
from service.files import sync_directory, synced
from service.model.factors import Int64
from service.model.ids import MAX_ID_BYTES
from service.model.storage.array_files import FileFacts, damaged, map_array, touch, write_array
from service.model.storage.source import Source

MANIFEST = "manifest.json"
#: A longer title is cut, at a character.
MAX_TITLE_BYTES = 1024

#: Usual names of the column that says which item, as :func:`plain` has them.
ITEM_COLUMNS = (
    *("item", "itemid", "iid", "product", "productid", "movie", "movieid", "article", "articleid", "book", "bookid"),
    *("track", "trackid", "song", "songid", "artist", "artistid", "sku", "asin", "isbn"),
)
# In each, the names that are looked for first, then those that do where there are none.
_ID_COLUMNS = ITEM_COLUMNS, ("id",)
_TITLE_COLUMNS = ("title", "itemtitle", "producttitle"), ("name", "itemname", "productname")
_INT64_DIGITS = "S20"


class TitlesManifest(msgspec.Struct, frozen=True):
    """Which file the titles are from, and what the files of their arrays must be."""

    source: Source
    files: dict[str, FileFacts]


@dataclass(frozen=True, slots=True)
class Titles:
    """Titles by id; every array may be a read-only memory map.

    ids: fixed-width bytes (UTF-8), ascending, [titles]. starts: int64 [titles + 1], where in ``text`` each title
    starts, and its end. text: uint8, the titles in UTF-8, one after another. directory: where they were opened.
    """

    ids: NDArray[Any]
    starts: Int64
    text: NDArray[np.uint8]
    directory: Path | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, ids: NDArray[Any]) -> list[str | None]:
        """Return the titles of these ids (int64 or fixed-width bytes), None for one that has none."""
        asked = ids.astype(_INT64_DIGITS) if ids.dtype.kind == "i" else ids
        # NumPy would widen, that is copy, all ids for a longer one; cut, it is found and then differs.
        places = self.ids.searchsorted(asked.astype(self.ids.dtype)).clip(max=len(self) - 1)
        known = (self.ids.take(places) == asked).tolist()
        starts, ends = self.starts.take(places).tolist(), self.starts.take(places + 1).tolist()
        text = self.text.data
        return [
            str(text[start:end], "utf-8") if has_title else None
            for has_title, start, end in zip(known, starts, ends, strict=True)
        ]


def plain(name: str) -> str:
    """Return a column's name as it stands among the usual ones: "userId" and "USER_ID" are both "userid"."""
    return re.sub(r"[\W_]", "", name).lower()


def read_titles(path: Path, file: BufferedReader) -> Titles:
    """Read a CSV file in UTF-8 whose header names ids and titles. Raises BadTitlesError, which calls it ``path``.

    Of an id that stands there twice the last title counts. An empty title is none.
    """
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    rows = csv.reader(text, strict=True)
    try:
        titles = {key: title for key, title in _pairs(path, rows) if title}
    except UnicodeDecodeError:
        raise BadTitlesError(f"{path} is not UTF-8; save it as CSV in UTF-8.") from None
    except csv.Error as error:
        raise BadTitlesError(f"{path}, line {rows.line_num}: this is no CSV ({error}).") from None
    finally:
        text.detach()
    if not titles:
        raise BadTitlesError(f"{path} has no titles; it needs a row with an id and a title for each item.")
    return _arranged(titles)


def write_titles(directory: Path, titles: Titles, source: Source) -> None:
    """Write titles into an empty directory, every file synced to disk. Raises OSError."""
    arrays = {"ids.npy": titles.ids, "starts.npy": titles.starts, "text.npy": titles.text}
    files = {name: write_array(directory, name, array) for name, array in arrays.items()}
    with synced(directory / MANIFEST) as file:
        file.write(msgspec.json.encode(TitlesManifest(source, files)))
    sync_directory(directory)


def open_titles(directory: Path) -> Titles:
    """Map titles into memory, every page of them read once. Raises SnapshotDamagedError, OSError."""
    try:
        manifest = msgspec.json.decode((directory / MANIFEST).read_bytes(), type=TitlesManifest)
        arrays = [map_array(directory / name, manifest.files[name]) for name in ("ids.npy", "starts.npy", "text.npy")]
    except (FileNotFoundError, KeyError, msgspec.DecodeError) as error:
        raise damaged(directory / MANIFEST, f"cannot be read: {error}") from None
    for array in arrays:
        touch(array)
    ids, starts, text = arrays
    return Titles(ids, starts, text, directory)


def _pairs(path: Path, rows: Any) -> Iterator[tuple[bytes, bytes]]:
    """Yield the id and the title of each row, those left out whose id can be no model's."""
    header: list[str] = next(rows, [])
    id_column, title_column = _find(path, header, *_ID_COLUMNS), _find(path, header, *_TITLE_COLUMNS)
    for row in filter(None, rows):
        if len(row) != len(header):
            raise BadTitlesError(
                f"{path}, line {rows.line_num}: there are {len(row)} fields, and the header has {len(header)}; "
                "put a title with a comma between quotes."
            )
        key = row[id_column].encode()
        if 0 < len(key) <= MAX_ID_BYTES and b"\0" not in key:
            yield key, _cut(row[title_column].strip())


def _find(path: Path, header: Sequence[str], *usual: Sequence[str]) -> int:
    """Return the place of a column, by the first of the usual names that are there."""
    for names in usual:
        found = [place for place, name in enumerate(header) if plain(name) in names]
        if len(found) == 1:
            return found[0]
        if found:
            raise BadTitlesError(f"{path}: the header has {' and '.join(header[place] for place in found)}; keep one.")
    raise BadTitlesError(f"{path}: the header lacks a column called {usual[0][0]}; it begins with {header[:10]}.")


def _cut(title: str) -> bytes:
    return title.encode()[:MAX_TITLE_BYTES].decode(errors="ignore").encode()


def _arranged(titles: dict[bytes, bytes]) -> Titles:
    ids = sorted(titles)
    ordered = [titles[key] for key in ids]
    starts = np.concatenate(([0], np.cumsum(np.fromiter(map(len, ordered), np.int64, len(ordered)))))
    return Titles(np.array(ids), starts, np.frombuffer(b"".join(ordered), np.uint8))
