"""Models on which an inexact scan would fail, what is right for them, and the kernel compiled in other ways."""

from __future__ import annotations

import dataclasses
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import service.model.scoring
from service.model.arranging import arrange
from service.model.factors import Float32, Int32
from service.model.model import Model
from service.model.scoring.products import scores_of
from service.model.scoring.ranking import NO_ROWS, Eligible, is_mask
from tests.support.helpers import need
from tests.support.models import make_factors

SOURCE = Path(service.model.scoring.__file__).with_name("scan.c")
DRIVER = Path(__file__).with_name("scan_driver.c")
FACTORS = (1, 2, 7, 16, 31, 32, 50, 64, 100, 200)
USERS = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A model, and what of it may be in an answer."""

    model: Model
    n: int
    without: Int32 = dataclasses.field(default_factory=NO_ROWS.copy)
    eligible: Eligible | None = None


def nasty_model(kind: str, rng: np.random.Generator, rows: int, factors: int) -> Model:
    """Make a model of a kind; the last of its four users is a zero vector."""
    items, users = rng.normal(size=(rows, factors)), rng.normal(size=(USERS, factors))
    users[2] = rng.integers(-1, 2, factors)
    users[3] = 0
    items, users[:2] = _MAKERS[kind](rng, items, users[:2])
    source = make_factors(users=USERS, items=rows, factors=factors, pairs=2 * rows)
    return arrange(
        dataclasses.replace(source, item_factors=items.astype(np.float32), user_factors=users.astype(np.float32))
    )


_Float64: TypeAlias = NDArray[np.float64]
_Made: TypeAlias = tuple[_Float64, _Float64]


def _falling(_: np.random.Generator, items: _Float64, users: _Float64) -> _Made:
    return items / (1 + 0.01 * np.arange(len(items)))[:, None], users


def _whole(rng: np.random.Generator, items: _Float64, users: _Float64) -> _Made:
    return rng.integers(-1, 2, items.shape).astype(np.float64), users


def _repeated(rng: np.random.Generator, items: _Float64, users: _Float64) -> _Made:
    return items[rng.integers(0, len(items), len(items))], users


def _with_zeros(rng: np.random.Generator, items: _Float64, users: _Float64) -> _Made:
    return items * (rng.random((len(items), 1)) < 0.7), users


def _against(_: np.random.Generator, items: _Float64, users: _Float64) -> _Made:
    items[:, 0] = -np.abs(items[:, 0]) * 1e6
    users[:, 0] = 5 * np.abs(users[:, 0])
    return items * 0.001, users


def _reordered(rng: np.random.Generator, items: _Float64, users: _Float64) -> _Made:
    numbers = (np.arange(items.shape[1]) % 7 - 2) * 0.1
    same = np.full(users.shape, 0.3)
    same[1] += 0.01 * (np.arange(items.shape[1]) & 1)
    return rng.permuted(np.tile(numbers, (len(items), 1)), axis=1), same


def _hardly_apart(rng: np.random.Generator, items: _Float64, users: _Float64) -> _Made:
    halves = np.tile(np.arange(items.shape[1]) % 2.0, (len(items), 1))
    return rng.permuted(halves, axis=1), 1 + 1e-5 * users


#: What is nasty about each kind of model, and what makes it so of Gaussian numbers.
_MAKERS: dict[str, Callable[[np.random.Generator, _Float64, _Float64], _Made]] = {
    "Gaussian": lambda _, items, users: (items, users),
    "falling norms": _falling,
    "whole numbers, with equal scores": _whole,
    "each item several times": _repeated,
    "zero vectors": _with_zeros,
    "tiny": lambda _, items, users: (items * 1e-15, users),
    "huge": lambda _, items, users: (items * 1e12, users),
    "too small for float32 products": lambda _, items, users: (items * 1e-22, users),
    "too small for codes": lambda _, items, users: (items * 1e-33, users),
    "all against the user": _against,
    "the same numbers in another order": _reordered,
    "told apart by less than the digits of a user": _hardly_apart,
}
KINDS = tuple(_MAKERS)


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
