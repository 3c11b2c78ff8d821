"""Measure catalogs: how long an import and a swap take, and the memory for each item and attribute.

.venv/bin/python -m tests.benchmarks.catalog                  1M items with ten attributes, in each format
.venv/bin/python -m tests.benchmarks.catalog --items 200000
"""

from __future__ import annotations

import asyncio
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from service.environment import child_environment
from service.live.importing import ImportLimits, import_in_child
from service.model.catalog.catalog import Catalog
from service.model.catalog.stored import open_catalog
from service.model.storage.shelf import Shelf
from service.model.storage.source import identify


def made(items: int, seed: int = 7) -> Any:
    """Return a table of items: an id, a title, availability, and ten attributes of all types."""
    random = np.random.default_rng(seed)

    def words(name: str, distinct: int) -> Any:
        return pa.array([f"{name} {number}" for number in range(distinct)]).take(
            pa.array(random.integers(distinct, size=items))
        )

    tags = [words("tag", 500) for _ in range(3)]
    days = pa.array(random.integers(10_000, 20_000, items).astype(np.int32)).cast(pa.date32())
    moments = pa.array(random.integers(10**15, 17 * 10**14, items)).cast(pa.timestamp("us", "UTC"))
    return pa.table(
        {
            "id": pa.array(random.permutation(items)).cast(pa.string()),
            "title": pc.binary_join_element_wise("The", words("title", items), " "),
            "available": pa.array(random.random(items) < 0.95),
            "genre": words("genre", 50),
            "brand": words("brand", 20_000),
            "price": pa.array(random.gamma(2, 10, items).round(2)),
            "rating": pa.array(random.random(items).round(1) * 5),
            "pages": pa.array(random.integers(50, 900, items)),
            "added": days,
            "changed": moments,
            "new": pa.array(random.random(items) < 0.1),
            "code": words("SKU", items),
            "tags": pc.binary_join_element_wise(*tags, "|"),
        }
    )  # fmt: skip


def _write_json(table: Any, path: Path) -> None:
    with path.open("wb") as file:
        for batch in table.to_batches(2**16):
            file.writelines(msgspec.json.encode(row) + b"\n" for row in batch.to_pylist())


_WRITERS: dict[str, Callable[[Any, Path], object]] = {
    "csv": pyarrow.csv.write_csv,
    "parquet": pyarrow.parquet.write_table,
    "json lines": _write_json,
}


def bytes_of(catalog: Catalog) -> dict[str, int]:
    """Return the bytes of each part of a catalog."""
    assert catalog.directory
    sizes = {"ids": catalog.ids.nbytes, "all": sum(path.stat().st_size for path in catalog.directory.iterdir())}
    for name, column in catalog.columns.items():
        words = column.words.starts.nbytes + column.words.text.nbytes if column.words else 0
        sizes[name] = column.values.nbytes + (0 if column.starts is None else column.starts.nbytes) + words
    return sizes


def measure(items: int) -> None:
    """Import and open a catalog of each format."""
    table = made(items)
    with tempfile.TemporaryDirectory() as place:
        for kind, write in _WRITERS.items():
            path = Path(place, "items")
            write(table, path)
            catalog, timings = _imported(path, Shelf(Path(place, kind), keep=1))
            click.echo(f"{kind}: {path.stat().st_size / 1e6:.0f} MB; {timings}")
        sizes = bytes_of(catalog)
    click.echo(f"bytes per item: {', '.join(f'{name} {size / items:.1f}' for name, size in sizes.items())}")


def _imported(path: Path, shelf: Shelf) -> tuple[Catalog, str]:
    source = identify(path)
    limits = ImportLimits(600, 0, child_environment())
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    asyncio.run(import_in_child(source, shelf, limits, content="catalog"))
    after, imported = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    catalog = open_catalog(shelf.place_of(source))
    opened = time.perf_counter()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return catalog, (
        f"import {imported - started:.1f} s ({cpu:.1f} s of CPU, at most {after.ru_maxrss / 1e3:.0f} MB so far); "
        f"open {(opened - imported) * 1e3:.0f} ms"
    )


@click.command()
@click.option("--items", default=1_000_000, show_default=True, help="The number of items.")
def main(items: int) -> None:
    """Measure and print."""
    measure(items)


if __name__ == "__main__":
    main()
