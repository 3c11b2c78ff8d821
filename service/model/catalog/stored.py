"""Catalogs on disk: a directory of arrays and a manifest, which is mapped into memory and proven."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import msgspec
from numpy.typing import NDArray

from service.files import sync_directory, synced
from service.model.catalog.catalog import Account, Catalog, Column, Kind, Words
from service.model.catalog.values import frequent
from service.model.factors import Int64
from service.model.ids import MAX_ID_BYTES
from service.model.storage.array_files import FileFacts, damaged, map_array, read_manifest, touch, write_array
from service.model.storage.source import Source

MANIFEST = "manifest.json"
#: How many of the most frequent values are kept with an attribute, but for texts with more characters.
_FREQUENT, _MOST_CHARACTERS = 20, 60
_TYPES = {"bool": "int8", "number": "float64", "date": "int64", "text": "int32"}

Arrays = dict[str, NDArray[Any]]


class ColumnForm(msgspec.Struct, frozen=True):
    """An attribute's name and type; its files are named by its place in the list."""

    name: str
    kind: Kind
    is_list: bool


class CatalogManifest(msgspec.Struct, frozen=True):
    """A catalog's source file, its columns, and the expected files of their arrays."""

    source: Source
    columns: list[ColumnForm]
    account: Account
    files: dict[str, FileFacts]


_manifest = msgspec.json.Decoder(CatalogManifest)


def write_catalog(directory: Path, catalog: Catalog, source: Source) -> None:
    """Write a catalog into an empty directory, every file synced to disk. Raises OSError."""
    files = {name: write_array(directory, name, array) for name, array in _arrays_of(catalog)}
    columns = [ColumnForm(name, column.kind, column.is_list) for name, column in catalog.columns.items()]
    with synced(directory / MANIFEST) as file:
        file.write(msgspec.json.encode(CatalogManifest(source, columns, catalog.account, files)))
    sync_directory(directory)


def open_catalog(directory: Path) -> Catalog:
    """Map a catalog into memory and read every page once. Raises SnapshotDamagedError, OSError."""
    manifest = read_manifest(directory / MANIFEST, _manifest)
    arrays = {name: map_array(directory / name, facts) for name, facts in manifest.files.items() if _is_plain(name)}
    for array in arrays.values():
        touch(array)
    try:
        return _proven(directory, manifest, arrays)
    except KeyError as error:
        raise damaged(directory, f"lacks {error.args[0]}") from None
    except _WrongError as error:
        raise damaged(directory, str(error)) from None


class _WrongError(Exception):
    """What is wrong with an array."""


def _is_plain(name: str) -> bool:
    return "/" not in name


def _arrays_of(catalog: Catalog) -> Iterator[tuple[str, NDArray[Any]]]:
    yield "ids.npy", catalog.ids
    if catalog.available is not None:
        yield "available.npy", catalog.available
    if catalog.titles is not None:
        yield from _files_of("titles", catalog.titles)
    for place, column in enumerate(catalog.columns.values()):
        yield f"{place}.values.npy", column.values
        if column.starts is not None:
            yield f"{place}.lists.npy", column.starts
        if column.words is not None:
            yield from _files_of(str(place), column.words)


def _files_of(name: str, words: Words) -> Iterator[tuple[str, NDArray[Any]]]:
    yield f"{name}.starts.npy", words.starts
    yield f"{name}.text.npy", words.text


def _proven(directory: Path, manifest: CatalogManifest, arrays: Arrays) -> Catalog:
    """Check the types, shapes and indices of arrays from disk. Raises KeyError, _WrongError."""
    ids = arrays["ids.npy"]
    known = ids.dtype.kind == "S" and 1 <= ids.itemsize <= MAX_ID_BYTES and ids.ndim == 1
    _expect(known and bool(len(ids)) and bool((ids[1:] > ids[:-1]).all()), "ids.npy", ids)
    available = arrays.get("available.npy")
    if available is not None:
        _expect(available.dtype == "bool" and available.shape == ids.shape, "available.npy", available)
    titles = _words(arrays, "titles") if "titles.starts.npy" in arrays else None
    if titles is not None:
        _expect(len(titles) == len(ids), "titles.starts.npy", titles.starts)
    columns = {form.name: _column(arrays, place, form, len(ids)) for place, form in enumerate(manifest.columns)}
    return Catalog(ids, titles, available, columns, manifest.account, directory)


def _column(arrays: Arrays, place: int, form: ColumnForm, rows: int) -> Column:
    name = f"{place}.values.npy"
    values, words = arrays[name], _words(arrays, str(place)) if form.kind == "text" else None
    starts = arrays[f"{place}.lists.npy"] if form.is_list else None
    _expect(values.dtype == _TYPES[form.kind] and values.ndim == 1, name, values)
    if starts is None:
        _expect(len(values) == rows, name, values)
    else:
        _expect_starts(f"{place}.lists.npy", starts, rows, len(values))
    if form.kind in {"bool", "text"}:
        last = 1 if words is None else len(words) - 1
        least = -1 if starts is None else 0
        _expect(not len(values) or (least <= values.min() and values.max() <= last), name, values)
    column = Column(form.kind, values, starts, words)
    most = [value for value in frequent(column, _FREQUENT) if len(str(value)) <= _MOST_CHARACTERS]
    return replace(column, frequent=most)


def _words(arrays: Arrays, name: str) -> Words:
    starts, text = arrays[f"{name}.starts.npy"], arrays[f"{name}.text.npy"]
    _expect(text.dtype == "uint8" and text.ndim == 1, f"{name}.text.npy", text)
    _expect_starts(f"{name}.starts.npy", starts, len(starts) - 1 if starts.ndim == 1 else 0, len(text))
    return Words(starts, text)


def _expect_starts(name: str, starts: Int64, rows: int, end: int) -> None:
    formed = starts.dtype == "int64" and starts.shape == (rows + 1,) and bool(len(starts))
    ascend = formed and starts[0] == 0 and starts[-1] == end and bool((starts[1:] >= starts[:-1]).all())
    _expect(bool(ascend), name, starts)


def _expect(right: bool, name: str, array: NDArray[Any]) -> None:
    if not right:
        raise _WrongError(f"has a wrong {name} ({array.dtype} {array.shape})")


assert _TYPES.keys() == set(get_args(Kind))
