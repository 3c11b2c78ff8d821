"""What the int8 codes cost when a model is imported, on disk and in memory.

    OPENBLAS_NUM_THREADS=1 python -m tests.benchmarks.quantizing [MODEL.npz ...] [--items 1000000] [--factors 64]

For each model file, and for generated items: the seconds that quantizing takes beside the other work of arranging, the
median of five; the bytes of a snapshot without the codes and with them, all of which a server maps; and the most memory
that quantizing holds at a time beside its result.
"""

from __future__ import annotations

import argparse
import tracemalloc
from pathlib import Path
from statistics import median
from time import perf_counter

from service.model.codes import quantize
from service.model.model import Model
from service.model.storage.snapshot import arrays_of
from tests.benchmarks.made import generated, read_model


def seconds(model: Model) -> float:
    """Return how long quantizing takes."""
    begin = perf_counter()
    quantize(model.item_factors)
    return perf_counter() - begin


def held(model: Model) -> int:
    """Return the most bytes that quantizing holds beside its result."""
    tracemalloc.start()
    codes = quantize(model.item_factors)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak - codes.codes.nbytes - codes.steps.nbytes


def report(name: str, model: Model) -> None:
    """Print one line of the table."""
    whole = sum(array.nbytes for array in arrays_of(model).values())
    codes = model.codes.codes.nbytes + model.codes.steps.nbytes
    took = median(seconds(model) for _ in range(5))
    numbers = (whole - codes, whole, model.item_factors.nbytes, codes, held(model))
    print(f"{name:<24}{took:>10.3f}" + "".join(f"{number / 2**20:>10.1f}" for number in numbers), flush=True)


def main() -> None:
    """Measure every model and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="*", help="model files")
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--factors", type=int, default=64)
    options = parser.parse_args()
    columns = ("seconds", "before MB", "after MB", "factors", "codes", "peak")
    print(" " * 24 + "".join(f"{column:>10}" for column in columns))
    for path in options.models:
        report(path.stem, read_model(path))
    report(f"{options.items:,} x {options.factors}", generated(options.items, options.factors, falling=True))


if __name__ == "__main__":
    main()
