"""A catalog on disk: what was written is mapped again, and nothing damaged is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import SnapshotDamagedError
from service.model.arranging import arrange
from service.model.catalog.assortment import Coverage, coverage
from service.model.catalog.catalog import NO_DATE, Account, Catalog, Column, Words
from service.model.catalog.stored import open_catalog, write_catalog
from service.model.storage.source import Signature, Source
from tests.support.models import make_factors

SOURCE = Source("items.csv", Signature("/items.csv", 1, 2, 3, 4, 5), "0" * 64)


def words(*texts: str) -> Words:
    """Return these texts."""
    parts = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    return Words(ends, np.frombuffer(b"".join(parts), np.uint8))


CATALOG = Catalog(
    np.array([b"a", b"bb"]),
    words("One", ""),
    np.array([True, False]),
    {
        "new": Column("bool", np.array([1, -1], np.int8)),
        "price": Column("number", np.array([9.5, np.nan])),
        "added": Column("date", np.array([NO_DATE, 86_400_000_000])),
        "genre": Column("text", np.array([1, -1], np.int32), words=words("cookery", "höhe")),
        "tags": Column("text", np.array([0, 1, 1], np.int32), np.array([0, 2, 3]), words("x", "y")),
        "empty": Column("text", np.array([-1, -1], np.int32), words=words()),
        "no_years": Column("number", np.array([], np.float64), np.array([0, 0, 0])),
    },
    Account({"no id": 3}, 1, ("a remark",)),
)


def test_a_catalog_on_disk_is_the_same(tmp_path: Path) -> None:
    """Every array, type and name comes back, mapped into memory and not read into it."""
    write_catalog(tmp_path, CATALOG, SOURCE)
    opened = open_catalog(tmp_path)
    assert opened.directory == tmp_path
    assert opened.account == CATALOG.account
    assert opened.ids.tolist() == [b"a", b"bb"]
    assert not opened.ids.flags.owndata
    assert opened.titles is not None
    assert opened.titles.at(np.arange(2)) == ["One", ""]
    assert opened.available is not None
    assert opened.available.tolist() == [True, False]
    assert list(opened.columns) == list(CATALOG.columns)
    for name, column in CATALOG.columns.items():
        found = opened.columns[name]
        assert (found.kind, found.is_list) == (column.kind, column.is_list)
        np.testing.assert_array_equal(found.values, column.values)
        if column.starts is not None:
            np.testing.assert_array_equal(found.starts, column.starts)
        if column.words is not None:
            assert found.words is not None
            assert found.words.text.tobytes() == column.words.text.tobytes()


def test_a_catalog_of_ids_alone_is_opened(tmp_path: Path) -> None:
    """Titles, availability and attributes are optional."""
    write_catalog(tmp_path, Catalog(np.array([b"a"])), SOURCE)
    opened = open_catalog(tmp_path)
    assert (opened.titles, opened.available, opened.columns) == (None, None, {})


@pytest.mark.parametrize(
    "wrong",
    [
        {"ids": np.array([b"b", b"a"])},
        {"ids": np.array([b"a", b"a"])},
        {"ids": np.array([1, 2])},
        {"ids": np.array([b"", b""])[:0]},
        {"titles": words("One")},
        {"titles": Words(np.array([0, 3, 2]), np.zeros(2, np.uint8))},
        {"titles": Words(np.array([1, 2, 3]), np.zeros(3, np.uint8))},
        {"titles": Words(np.array([0, 2, 4]), np.zeros(3, np.uint8))},
        {"titles": Words(np.array([0, 1, 2]), np.zeros((2, 1), np.uint8))},
        {"available": np.array([True])},
        {"available": np.array([1, 0], np.int8)},
        {"columns": {"x": Column("bool", np.array([2, 0], np.int8))}},
        {"columns": {"x": Column("bool", np.array([-2, 0], np.int8))}},
        {"columns": {"x": Column("number", np.array([2, 0], np.int64))}},
        {"columns": {"x": Column("number", np.array([2.0]))}},
        {"columns": {"x": Column("text", np.array([0, 1], np.int32), words=words("a"))}},
        {"columns": {"x": Column("text", np.array([-1, -2], np.int32), words=words("a"))}},
        {"columns": {"x": Column("text", np.array([0, -1], np.int32), np.array([0, 1, 2]), words("a"))}},
        {"columns": {"x": Column("number", np.array([1.0, 2]), np.array([0, 1, 3]))}},
        {"columns": {"x": Column("number", np.array([1.0, 2]), np.array([0, 2]))}},
        {"columns": {"x": Column("number", np.array([1.0, 2]), np.array([0, 1, 2], np.int32))}},
        {"columns": {"x": Column("text", np.array([-1, -1], np.int32))}},
    ],
)
def test_a_catalog_of_another_form_is_not_opened(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """Whatever the manifest says, no look-up goes beyond an array."""
    write_catalog(tmp_path, replace(CATALOG, **wrong), SOURCE)
    with pytest.raises(SnapshotDamagedError):
        open_catalog(tmp_path)


@pytest.mark.parametrize("name", ["manifest.json", "ids.npy", "titles.text.npy", "3.values.npy", "4.lists.npy"])
def test_a_damaged_catalog_is_not_opened(tmp_path: Path, name: str) -> None:
    """A file that is gone or cut short is noticed before anybody reads it."""
    write_catalog(tmp_path, CATALOG, SOURCE)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-1])
    with pytest.raises(SnapshotDamagedError):
        open_catalog(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(SnapshotDamagedError):
        open_catalog(tmp_path)


def test_coverage_counts_both_sides() -> None:
    """A catalog may list items that the model lacks, and lack items that the model has."""
    model = arrange(make_factors())
    known = sorted(str(each).encode() for each in model.item_ids.at(np.arange(3)))
    catalog = Catalog(np.array([*known, b"~1", b"~2"]))
    assert coverage(catalog, model) == Coverage(items=len(model.item_ids), listed=3, unknown=2)
