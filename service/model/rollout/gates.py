"""The gates that a new model passes before it is served: what each compares, and with what result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import msgspec
import numpy as np

from service.model.factors import Float32
from service.model.rollout.golden import Golden
from service.model.rollout.overlap import Overlap, overlap
from service.model.storage.snapshot import Snapshot

Gate: TypeAlias = Literal["counts", "factors", "scores", "overlap", "golden"]
GATES: Final[tuple[Gate, ...]] = ("counts", "factors", "scores", "overlap", "golden")

#: Of a first model, at least this share of users and of items must have factors of their own. Most may lack them: a
#: catalog lists items that nobody has had yet, and training leaves those at zero.
LEAST_OWN = 0.1
#: Of fewer rows, some may be equal by chance; zeros always count.
_FEWEST = 10
#: Rows that are projected at a time.
_CHUNK = 2**16


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What gates tolerate; see the settings of the same names."""

    min_count_share: float = 0.5
    max_score_shift: float = 1.0
    min_overlap: float = 0.4


class Finding(msgspec.Struct, frozen=True):
    """What one gate found: ``value`` as compared with ``limit``, and ``detail``, a phrase if it failed.

    Both numbers are None if there was nothing to compare.
    """

    gate: Gate
    passed: bool
    value: float | None
    limit: float | None
    detail: str = ""


def examine(
    new: Snapshot,
    served: Snapshot | None,
    thresholds: Thresholds,
    golden: Golden | None = None,
    *,
    gates: frozenset[Gate] = frozenset(GATES),
    is_stopped: Callable[[], bool] = lambda: False,
) -> list[Finding]:
    """Put a new model through some gates; without a served model, through those that need none.

    A gate that has nothing to compare finds nothing. Nearly all of the time is spent without the interpreter lock.
    """
    comparable = served if served and not new.model.limited else None
    found: list[Finding] = []
    if "counts" in gates and served:
        found.append(counts(new, served, thresholds.min_count_share))
    if "factors" in gates:
        found.append(own_factors(new, served, thresholds.min_count_share, is_stopped))
    if "scores" in gates and comparable:
        found.append(scores(new, comparable, thresholds.max_score_shift))
    if "overlap" in gates and comparable:
        measured = overlap(new.model, comparable.model, is_stopped=is_stopped)
        found.append(overlapping(measured, thresholds.min_overlap))
    if "golden" in gates and golden:
        found.append(golden_answers(new, golden, is_stopped))
    return found


def counts(new: Snapshot, served: Snapshot, least: float) -> Finding:
    """Compare the numbers of users and items."""
    shares = {
        f"{now} {kind}, less than {least:.0%} of the {before} of the served model": now / before
        for kind, now, before in (
            ("users", new.manifest.users, served.manifest.users),
            ("items", new.manifest.items, served.manifest.items),
        )
    }
    return _lowest("counts", shares, least, "it has")


def own_factors(new: Snapshot, served: Snapshot | None, least: float, is_stopped: Callable[[], bool]) -> Finding:
    """Find factors that many users, or many items, have in common; zeros are the likeliest."""
    if new.model.limited:
        return _finding("factors", served is None, 0, least, "it has no factors, only popularity")
    shares = {}
    for kind, mine, theirs in (
        ("users", new.model.user_factors, served.model.user_factors if served else None),
        ("items", new.model.item_factors, served.model.item_factors if served else None),
    ):
        own = share_of_own(mine, is_stopped)
        # The served model is only measured where it matters: this takes a while, and its share is at most 1.
        before = share_of_own(theirs, is_stopped) if theirs is not None and own < least else 1.0
        phrase = f"factors of their own for only {own:.0%} of the {kind}, and the others all have the same"
        shares[phrase] = own / before if before else 1.0
    return _lowest("factors", shares, least if served else LEAST_OWN, "it has")


def share_of_own(factors: Float32, is_stopped: Callable[[], bool] = lambda: False) -> float:
    """Return the share of rows that are not in the largest group of equal rows: 0 if all are equal, or all are zero.

    factors: float32 [rows, factors]. Rows are compared by a random projection, so nearly equal ones may count as equal.
    Of fewer than ten rows, only zeros count.
    """
    vector = np.random.default_rng(0).normal(size=factors.shape[1])
    starts = range(0, len(factors), _CHUNK)
    parts = [factors[at : at + _CHUNK].astype(np.float64) @ vector for at in starts if not is_stopped()]
    ordered = np.sort(np.concatenate([*parts, np.empty(0)]))
    if len(ordered) < _FEWEST:
        return int(np.count_nonzero(ordered)) / len(factors)
    ends = np.flatnonzero(np.concatenate([ordered[1:] != ordered[:-1], [True]]))
    largest = int(np.diff(ends, prepend=-1).max())
    return 1 - largest / len(factors) if largest > 1 else 1.0


def scores(new: Snapshot, served: Snapshot, most: float) -> Finding:
    """Compare the scores of recommendations: their 1st, 50th and 99th percentiles, in standard deviations."""
    now, before = new.manifest.scores.recommendation, served.manifest.scores.recommendation
    scale = before.std or abs(before.p50) or 1.0
    moved = {name: abs(getattr(now, name) - getattr(before, name)) / scale for name in ("p1", "p50", "p99")}
    worst = max(moved, key=lambda name: moved[name])
    detail = (
        f"the {worst} of its recommendations' scores is {getattr(now, worst):.4g} instead of "
        f"{getattr(before, worst):.4g}, {moved[worst]:.1f} standard deviations apart"
    )
    return _finding("scores", moved[worst] <= most, moved[worst], most, detail)


def overlapping(found: Overlap, least: float) -> Finding:
    """Compare the recommendations of users whom both models know."""
    detail = (
        f"its top 10 have only {found.mean:.0%} in common with those of the served model, "
        f"on average of {len(found.users)} users"
        if len(found.users)
        else "it has no user in common with the served model"
    )
    return _finding("overlap", found.mean >= least, found.mean, least, detail)


def golden_answers(new: Snapshot, golden: Golden, is_stopped: Callable[[], bool]) -> Finding:
    """Ask the new model what it must know."""
    if new.model.limited:
        return _finding("golden", False, 0, 1, "it has no factors, so it cannot answer golden requests")
    failures, total = golden.failures(new.model, is_stopped), len(golden.expectations)
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    detail = f"{failures[0]}{more}" if failures else ""
    return _finding("golden", not failures, 1 - len(failures) / total, 1, detail)


def _lowest(gate: Gate, shares: dict[str, float], least: float, opening: str) -> Finding:
    phrases = [phrase for phrase, share in shares.items() if share < least]
    detail = f"{opening} {' and '.join(phrases)}"
    return _finding(gate, not phrases, min(shares.values()), least, detail)


def _finding(gate: Gate, passed: bool, value: float, limit: float, detail: str) -> Finding:
    return Finding(gate, passed, round(value, 6), limit, "" if passed else detail)
