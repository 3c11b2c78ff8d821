"""What the child does with a file of items, in its own process: a catalog, or one sentence, and nothing hangs."""

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.children.catalog import answer
from service.children.jobs import Job, Outcome
from service.environment import child_environment
from service.errors import AlsServeError, BadCatalogError, ImportCrashedError, ImportMemoryError
from service.live.importing import ImportLimits, import_in_child
from service.model.catalog.stored import open_catalog
from service.model.storage.shelf import Shelf
from service.model.storage.source import identify
from tests.support.helpers import put

MEGABYTE = 2**20
Refusals: TypeAlias = type[AlsServeError] | tuple[type[AlsServeError], ...]


def parquet(column: Any) -> bytes:
    """Return a Parquet file with ids and one other column."""
    written = io.BytesIO()
    pq.write_table(pa.table({"id": [str(row) for row in range(len(column))], "x": column}), written, compression="zstd")
    return written.getvalue()


def zipped(head: bytes, part: bytes, count: int) -> bytes:
    """Return a gzip of so many parts."""
    written = io.BytesIO()
    with gzip.GzipFile(fileobj=written, mode="wb", compresslevel=1) as file:
        file.write(head)
        for _ in range(count):
            file.write(part)
    return written.getvalue()


def laughs(rows: int = 50_000_000) -> bytes:
    """Return a small Parquet file of many rows, all of the same long text."""
    zeros = pa.array(np.zeros(rows, np.int32))
    written = io.BytesIO()
    texts = {
        name: pa.DictionaryArray.from_arrays(zeros, pa.array([text]))
        for name, text in {"id": "a", "x": "ha" * 500}.items()
    }
    pq.write_table(pa.table(texts), written)
    return written.getvalue()


async def imported(path: Path, content: bytes, **keys: str) -> Path:
    """Import a file of this content as a server does, and return the directory."""
    put(path, content)
    shelf = Shelf(path.parent / "state" / "catalogs", keep=1)
    limits = ImportLimits(60, 0, child_environment(), keys=keys)
    await import_in_child(identify(path), shelf, limits, content="catalog")
    return shelf.place_of(identify(path))


@pytest.mark.parametrize(
    "content",
    [b"id,x\na,1|2\n", gzip.compress(b'{"id": "a", "x": [1, 2]}\n'), "id\tx\na\t1|2\n".encode("utf-16")],
    ids=["CSV", "JSON Lines", "UTF-16"],
)
@pytest.mark.usefixtures("children_are_measured")
async def test_a_good_file_becomes_a_catalog(tmp_path: Path, content: bytes) -> None:
    """Whatever a format needs is loaded before the child is confined."""
    catalog = open_catalog(await imported(tmp_path / "items", content))
    assert catalog.columns["x"].values.tolist() == [1.0, 2.0]


@pytest.mark.usefixtures("children_are_measured")
async def test_a_parquet_file_becomes_a_catalog(tmp_path: Path) -> None:
    """Columns are what the user says they are."""
    catalog = open_catalog(await imported(tmp_path / "items", parquet([7]), x="text"))
    assert catalog.columns["x"].kind == "text"


#: Arrow reports most, but not all, of the memory that it does not get.
NO_ROOM = (ImportMemoryError, ImportCrashedError)
HOSTILE: dict[str, tuple[Callable[[], bytes], Refusals, str]] = {
    "a gzip of zeros": (lambda: zipped(b"id,x\n", bytes(MEGABYTE), 512), BadCatalogError, "has 16 MB or more"),
    "a gzip of rows": (lambda: zipped(b"id,x\n", b"aaaaaaa,bbbbbbb\n" * MEGABYTE, 100), NO_ROOM, ""),
    "a gzip of a JSON line": (lambda: zipped(b'{"id":"', b"a" * MEGABYTE, 64), BadCatalogError, "line 1 has"),
    "100,000 columns": (lambda: (",".join(map(str, range(100_000)))).encode(), BadCatalogError, "first line has more"),
    "20,000 columns": (lambda: (",".join(map(str, range(20_000)))).encode(), BadCatalogError, "20000 columns"),
    "100,000 keys": (lambda: json.dumps(dict.fromkeys(map(str, range(100_000)), 1)).encode(), BadCatalogError, "keys"),
    "a cell of 100 MB": (lambda: b"id,x\na," + b"x" * 100 * MEGABYTE, BadCatalogError, "has 16 MB or more"),
    "deep JSON": (lambda: b'{"id":1,"x":' + b"[" * 100_000, BadCatalogError, "nested too deeply"),
    "infinity in JSON": (lambda: b'{"id":1,"x":Infinity}', BadCatalogError, "line 1 is not one JSON object"),
    "bytes in JSON": (lambda: b'{"id":1,"x":"\xff"}', BadCatalogError, "line 1 is not one JSON object"),
    "the year 293277": (lambda: parquet(pa.array([2**63 - 1], pa.timestamp("us"))), BadCatalogError, "after 9999"),
    "a later date": (lambda: parquet(pa.array([2**61], pa.timestamp("ms"))), BadCatalogError, "after 9999"),
    "a text of bytes": (lambda: parquet(["~~~~~~~~"]).replace(b"~~~~~~~~", b"\xff" * 8), BadCatalogError, "UTF8"),
    "a deep list": (
        lambda: parquet(pa.nulls(1, reduce(lambda kind, _: pa.list_(kind), range(200), pa.int8()))),
        BadCatalogError,
        "nested",
    ),
    "half a Parquet file": (lambda: parquet([1])[:-3], BadCatalogError, "cannot be read"),
    "a billion laughs": (laughs, NO_ROOM, ""),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_file_is_one_sentence(tmp_path: Path, name: str) -> None:
    """Within the limits of any file, each has its own reason, and leaves nothing behind."""
    make, kind, reason = HOSTILE[name]
    with pytest.raises(kind) as caught:
        await imported(tmp_path / "items", make())
    sentence = str(caught.value)
    assert str(tmp_path / "items") in sentence
    assert sentence.endswith(".")
    assert reason in sentence
    assert not list((tmp_path / "state" / "catalogs").iterdir())


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], Job]:
    """Return what makes the job to import a file of this content."""
    staged = tmp_path / "state" / "staged"
    staged.mkdir(parents=True)
    monkeypatch.chdir(staged)

    def made(content: bytes) -> Job:
        path = tmp_path / "items"
        path.write_bytes(content)
        return Job(identify(path), os.open(path, os.O_RDONLY), -1, str(tmp_path / "state"), 2**30, None, 60)

    return made


def test_an_answer_is_empty_or_a_code(tmp_path: Path, job: Callable[[bytes], Job]) -> None:
    """A good file is written to the working directory, a bad one has its code."""
    assert answer(job(b"id\na\n")) == Outcome()
    assert open_catalog(tmp_path / "state" / "staged").ids.tolist() == [b"a"]
    assert answer(job(b"a\nb\n")).code == "bad_catalog"
