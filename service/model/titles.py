"""Item titles: from a CSV file to arrays on disk that are mapped into memory.

Titles belong to ids, not to a model, so a titles file stays valid for the next model. They are stored as a directory of
arrays, like a snapshot, so a server has no Python object per title.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
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
from service.model.storage.array_files import FileFacts, damaged, map_array, read_manifest, touch, write_array
from service.model.storage.source import Source
from service.model.tables.names import ITEM_COLUMNS, plain
from service.untrusted import quote

MANIFEST = "manifest.json"
_FILES = ("ids.npy", "starts.npy", "text.npy")
#: Longer titles are cut at a character boundary.
MAX_TITLE_BYTES = 1024

_DELIMITERS = ",;\t"
# In each, the preferred names, then the alternatives.
_ID_COLUMNS = ITEM_COLUMNS, ("id",)
_TITLE_COLUMNS = ("title", "itemtitle", "producttitle"), ("name", "itemname", "productname")
_INT64_DIGITS = "S20"
_SHOWN_NAMES = 10


class TitlesManifest(msgspec.Struct, frozen=True):
    """The titles' source file, and the expected files of their arrays."""

    source: Source
    files: dict[str, FileFacts]


@dataclass(frozen=True, slots=True)
class Titles:
    """Titles by id; every array may be a read-only memory map.

    ids: fixed-width bytes (UTF-8), ascending, [titles]. starts: int64 [titles + 1], the start of each title in
    ``text``, and the end. text: uint8, the concatenated titles in UTF-8. directory: where they were opened.
    """

    ids: NDArray[Any]
    starts: Int64
    text: NDArray[np.uint8]
    directory: Path | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, ids: NDArray[Any]) -> list[str | None]:
        """Return the titles of these ids (int64 or fixed-width bytes), None for those without one."""
        asked = ids.astype(_INT64_DIGITS) if ids.dtype.kind == "i" else ids
        # NumPy would widen (copy) all ids for a longer one; a cut id is found but then differs.
        places = self.ids.searchsorted(asked.astype(self.ids.dtype)).clip(max=len(self) - 1)
        known = (self.ids.take(places) == asked).tolist()
        starts, ends = self.starts.take(places).tolist(), self.starts.take(places + 1).tolist()
        text = self.text.data
        return [
            str(text[start:end], "utf-8") if has_title else None
            for has_title, start, end in zip(known, starts, ends, strict=True)
        ]


def read_titles(path: Path, file: BufferedReader) -> Titles:
    """Read a UTF-8 CSV file whose header names ids and titles. Raises BadTitlesError, which names it as ``path``.

    Semicolons or tabs may separate fields, too; with tabs, a quote is a letter unless the header is in quotes. The last
    title of a repeated id counts. Empty titles are ignored.
    """
    form = _form(file)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    rows = csv.reader(text, strict=True, **form)
    try:
        titles = {key: title for key, title in _pairs(path, rows) if title}
    except UnicodeDecodeError:
        raise BadTitlesError(f"{path} is not UTF-8; save it as CSV in UTF-8.") from None
    except csv.Error as error:
        raise BadTitlesError(f"{path}, line {rows.line_num}: this is not CSV ({error}).") from None
    finally:
        text.detach()
    if not titles:
        raise BadTitlesError(f"{path} has no titles; it needs a row with an id and a title for each item.")
    return _arranged(titles)


def write_titles(directory: Path, titles: Titles, source: Source) -> None:
    """Write titles into an empty directory, every file synced to disk. Raises OSError."""
    arrays: tuple[NDArray[Any], ...] = titles.ids, titles.starts, titles.text
    files = {name: write_array(directory, name, array) for name, array in zip(_FILES, arrays, strict=True)}
    with synced(directory / MANIFEST) as file:
        file.write(msgspec.json.encode(TitlesManifest(source, files)))
    sync_directory(directory)


def open_titles(directory: Path) -> Titles:
    """Map titles into memory and read every page once. Raises SnapshotDamagedError, OSError."""
    manifest = read_manifest(directory / MANIFEST, TitlesManifest)
    if manifest.files.keys() != set(_FILES):
        raise damaged(directory, f"does not have {', '.join(_FILES)}")
    ids, starts, text = (map_array(directory / name, manifest.files[name]) for name in _FILES)
    _prove_layout(directory, ids, starts, text)
    for array in (ids, starts, text):
        touch(array)
    return Titles(ids, starts, text, directory)


def _prove_layout(directory: Path, ids: NDArray[Any], starts: NDArray[Any], text: NDArray[Any]) -> None:
    """Check the types, shapes and indices of arrays from disk. Raises SnapshotDamagedError."""
    kinds = ids.dtype.kind == "S" and starts.dtype == "int64" and text.dtype == "uint8"
    if not kinds or ids.ndim != 1 or text.ndim != 1 or not len(ids) or starts.shape != (len(ids) + 1,):
        raise damaged(
            directory, f"has {ids.dtype} {ids.shape}, {starts.dtype} {starts.shape}, {text.dtype} {text.shape}"
        )
    if starts[0] != 0 or starts[-1] != len(text) or (starts[1:] < starts[:-1]).any():
        raise damaged(directory / "starts.npy", f"does not ascend from 0 to {len(text)}")


def _form(file: BufferedReader) -> dict[str, Any]:
    """Return the delimiter that gives the header the most names, and whether quotes quote."""
    header = file.peek().decode("utf-8-sig", "replace").partition("\n")[0]
    with suppress(csv.Error):  # reading the rows says what is wrong with the file
        delimiter = max(_DELIMITERS, key=lambda one: len(next(csv.reader([header], delimiter=one), [])))
        quotes = delimiter != "\t" or '"' in header
        return {"delimiter": delimiter, "quoting": csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE}
    return {}


def _pairs(path: Path, rows: Any) -> Iterator[tuple[bytes, bytes]]:
    """Yield the id and the title of each row, except rows whose id no model can have."""
    header: list[str] = next(rows, [])
    id_column, title_column = _find(path, header, *_ID_COLUMNS), _find(path, header, *_TITLE_COLUMNS)
    for row in filter(None, rows):
        if len(row) != len(header):
            raise BadTitlesError(
                f"{path}, line {rows.line_num}: there are {len(row)} fields, but the header has {len(header)}; "
                "quote titles that contain commas."
            )
        key = row[id_column].encode()
        if 0 < len(key) <= MAX_ID_BYTES and b"\0" not in key:
            yield key, _cut(row[title_column].strip())


def _find(path: Path, header: Sequence[str], *usual: Sequence[str]) -> int:
    """Return the index of a column, by the first of the common names that exist."""
    for names in usual:
        found = [place for place, name in enumerate(header) if plain(name) in names]
        if len(found) == 1:
            return found[0]
        if found:
            names_found = " and ".join(quote(header[place]) for place in found[:_SHOWN_NAMES])
            raise BadTitlesError(f"{path}: the header has {names_found}; keep one.")
    # A file of another kind is not quoted.
    known = any(plain(name) in names for names in (*_ID_COLUMNS, *_TITLE_COLUMNS) for name in header)
    names = ", ".join(map(quote, header[:_SHOWN_NAMES]))
    found_names = f"it has {names}" if known else "this is not a file of titles"
    raise BadTitlesError(f"{path}: the header lacks a column called {usual[0][0]}; {found_names}.")


def _cut(title: str) -> bytes:
    return title.encode()[:MAX_TITLE_BYTES].decode(errors="ignore").encode()


def _arranged(titles: dict[bytes, bytes]) -> Titles:
    ids = sorted(titles)
    ordered = [titles[key] for key in ids]
    starts = np.concatenate(([0], np.cumsum(np.fromiter(map(len, ordered), np.int64, len(ordered)))))
    return Titles(np.array(ids), starts, np.frombuffer(b"".join(ordered), np.uint8))
