"""Models on which an inexact scan would fail, what is right for them, and the kernel compiled in other ways."""

from __future__ import annotations

import dataclasses
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import service.model.scoring
from service.model.factors import Float32, Int32
from service.model.model import Model, arrange
from service.model.scoring.products import scores_of
from service.model.scoring.ranking import NO_ROWS, Eligible, is_mask
from tests.support.helpers import need
from tests.support.models import make_factors

SOURCE = Path(service.model.scoring.__file__).with_name("scan.c")
DRIVER = Path(__file__).with_name("scan_driver.c")
FACTORS = (1, 2, 7, 16, 31, 32, 50, 64, 100, 200)
USERS = 4

#: What is nasty about each kind of model.
KINDS = (
    "Gaussian",
    "falling norms",
    "whole numbers, with equal scores",
    "each item several times",
    "zero vectors",
    "tiny",
    "huge",
    "too small for float32 products",
    "all against the user",
    "the same numbers in another order",
)


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A model, and what of it may be in an answer."""

    model: Model
    n: int
    without: Int32 = dataclasses.field(default_factory=NO_ROWS.copy)
    eligible: Eligible | None = None


def nasty_model(kind: str, rng: np.random.Generator, rows: int, factors: int) -> Model:
    """Make a model of a kind; the last of its four users is a zero vector."""
    items = rng.normal(size=(rows, factors))
    users = rng.normal(size=(USERS, factors))
    users[2] = rng.integers(-1, 2, factors)
    users[3] = 0
    if kind == "falling norms":
        items /= 1 + 0.01 * np.arange(rows)[:, None]
    elif kind == "whole numbers, with equal scores":
        items = rng.integers(-1, 2, (rows, factors)).astype(np.float64)
    elif kind == "each item several times":
        items = items[rng.integers(0, rows, rows)]
    elif kind == "zero vectors":
        items[rng.random(rows) < 0.3] = 0
    elif kind in _SCALES:
        items *= _SCALES[kind]
    elif kind == "all against the user":
        items *= 0.001
        items[:, 0] = -np.abs(items[:, 0]) * 1000
        users[:2, 0] = 5 * np.abs(users[:2, 0])
    elif kind == "the same numbers in another order":
        items = rng.permuted(np.tile((np.arange(factors) % 7 - 2) * 0.1, (rows, 1)), axis=1)
        users[:2] = 0.3
        users[1] += 0.01 * (np.arange(factors) & 1)
    source = make_factors(users=USERS, items=rows, factors=factors, pairs=2 * rows)
    return arrange(
        dataclasses.replace(source, item_factors=items.astype(np.float32), user_factors=users.astype(np.float32))
    )


_SCALES = {"tiny": 1e-15, "huge": 1e12, "too small for float32 products": 1e-22}


def nasty_cases(seed: int, rows: int, repeats: int = 1) -> Iterator[Case]:
    """Make cases of every kind, with all ways to leave rows out."""
    rng = np.random.default_rng(seed)
    for kind in KINDS * repeats:
        count = int(rng.integers(1, rows))
        model = nasty_model(kind, rng, count, int(rng.choice(FACTORS)))
        without, listed = (np.flatnonzero(rng.random(count) < share).astype(np.int32) for share in (0.1, 0.4))
        for eligible in (None, listed, rng.random(count) < 0.6):
            for n in (1, 10, 1000):
                yield Case(model, n, without if n > 1 else NO_ROWS, eligible)


def by_sorting(case: Case, vector: Float32) -> tuple[Int32, Float32]:
    """Return the rows and scores that are right: a full sort, equal scores by row."""
    scores = scores_of(case.model.item_factors, vector)
    rows = np.arange(len(scores))
    may = ~np.isin(rows, case.without)
    if case.eligible is not None:
        may &= case.eligible if is_mask(case.eligible) else np.isin(rows, case.eligible)
    order = np.lexsort((rows, -scores))
    order = order[may[order]][: case.n]
    return order.astype(np.int32), scores[order]


def compiled(directory: Path, *options: str, compiler: str = "gcc", package: str = "gcc") -> Path:
    """Compile the driver with the kernel in it; skip the test where the compiler is missing."""
    need(shutil.which(compiler), f"{compiler} is missing: apt-get install --no-install-recommends {package}")
    program = directory / "scan_driver"
    flags = ["-std=c11", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", f"-I{SOURCE.parent}", *options]
    subprocess.run([compiler, *flags, str(DRIVER), "-o", str(program), "-lm"], check=True, timeout=120)
    return program


def answers_of(command: list[str], cases: list[bytes]) -> bytes:
    """Run a driver on encoded cases."""
    done = subprocess.run(command, input=b"".join(cases), capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout


def encoded(case: Case, **changes: NDArray[Any] | np.generic) -> bytes:
    """Write a case as the driver reads it, some arrays replaced by others of their size."""
    model, codes = case.model, case.model.codes
    n, listed, mask = min(case.n, len(model.item_factors)), None, None
    if case.eligible is not None:
        listed, mask = (None, case.eligible) if is_mask(case.eligible) else (case.eligible, None)
    arrays: dict[str, NDArray[Any] | np.generic | None] = {
        "rho": np.float32(codes.rho),
        "codes": codes.codes,
        "steps": codes.steps,
        "norms": model.item_norms,
        "items": model.item_factors,
        "vectors": model.user_factors,
        "without": case.without,
        "listed": listed,
        "mask": mask,
        **changes,
    }
    sizes = struct.pack(
        "8i",
        *(*model.item_factors.shape, codes.codes.shape[1], n, len(model.user_factors), len(case.without)),
        *(-1 if listed is None else len(listed), mask is not None),
    )
    return sizes + b"".join(array.tobytes() for array in arrays.values() if array is not None)


def right_answers(case: Case) -> bytes:
    """Return what the driver has to write for a case: users one by one, and together where there is no list."""
    found = [by_sorting(case, vector) for vector in case.model.user_factors]
    written = b"".join(struct.pack("i", len(rows)) + rows.tobytes() + scores.tobytes() for rows, scores in found)
    is_listed = case.eligible is not None and not is_mask(case.eligible)
    return written if is_listed else written * 2
