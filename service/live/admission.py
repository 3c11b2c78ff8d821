"""The admission of a new model: gates compare it with the served one before it takes its place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeAlias

from service.errors import (
    BadGoldenFileError,
    CountsGateError,
    FactorsGateError,
    GateError,
    GoldenGateError,
    OverlapGateError,
    ScoresGateError,
)
from service.live.reading import Reading
from service.live.report import GateResult
from service.model.rollout.gates import Finding, Gate, Thresholds, examine
from service.model.rollout.golden import Golden, read_golden
from service.model.storage.shelf import Shelf
from service.model.storage.snapshot import Snapshot
from service.model.storage.verdicts import Verdicts
from service.observe.logs import log_event
from service.observe.metrics import Metrics
from service.threads import in_thread

Mode: TypeAlias = Literal["off", "warn", "block"]

_ERRORS: Final[Mapping[Gate, type[GateError]]] = {
    "counts": CountsGateError,
    "factors": FactorsGateError,
    "scores": ScoresGateError,
    "overlap": OverlapGateError,
    "golden": GoldenGateError,
}


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """What each gate does with a model that fails it, and when that is; a gate without a mode is off."""

    modes: Mapping[Gate, Mode] = field(default_factory=dict)
    thresholds: Thresholds = field(default_factory=Thresholds)
    golden: Path | None = None

    @property
    def gates(self) -> frozenset[Gate]:
        """Return the gates that are not off."""
        return frozenset(gate for gate, mode in self.modes.items() if mode != "off")

    def examine(
        self, new: Snapshot, served: Snapshot | None, is_stopped: Callable[[], bool] = lambda: False
    ) -> list[Finding]:
        """Put a new model through the gates that are not off; a bad file of golden requests fails its gate."""
        golden, wrong = self._golden()
        found = examine(new, served, self.thresholds, golden, gates=self.gates, is_stopped=is_stopped)
        return [*found, *wrong]

    def _golden(self) -> tuple[Golden | None, list[Finding]]:
        if self.golden is None or "golden" not in self.gates:
            return None, []
        try:
            return read_golden(self.golden), []
        except BadGoldenFileError as error:
            return None, [Finding("golden", passed=False, value=None, limit=None, detail=str(error).removesuffix("."))]

    def judge(self, findings: list[Finding], *, accepted: bool = False) -> list[GateResult]:
        """Return what follows from each finding."""
        return [
            GateResult(found.gate, self._result(found, accepted), found.value, found.limit, found.detail)
            for found in findings
        ]

    def _result(self, found: Finding, accepted: bool) -> Literal["passed", "warned", "blocked", "accepted"]:
        if found.passed:
            return "passed"
        if self.modes[found.gate] == "warn":
            return "warned"
        return "accepted" if accepted else "blocked"


def refuse_blocked(version: str, results: list[GateResult]) -> None:
    """Raise the GateError of the first gate that blocks a model, with a sentence that names all of them."""
    blocked = [result for result in results if result.result == "blocked"]
    if blocked:
        raise _ERRORS[blocked[0].gate](
            f"Model {version} is not let in: {'; '.join(result.detail for result in blocked)}. "
            f"If the model is good all the same, als-serve accept {version} lets it in."
        )


@dataclass(frozen=True, slots=True)
class Admission:
    """Lets new models in, or not.

    ``verdicts`` has the versions that may fail; ``shelf``, what was served before this process started.
    """

    policy: GatePolicy
    verdicts: Verdicts
    shelf: Shelf
    metrics: Metrics

    async def admit(self, new: Snapshot, served: Snapshot | None, reading: Reading) -> None:
        """Compare a new model with the served one. Raises GateError if a gate blocks it.

        This runs in a thread, which mostly does without the interpreter lock.
        """
        if not self.policy.gates or (served and served.version == new.version):
            return
        with reading.phase("gates"):
            findings = await in_thread(partial(self._examine, new, served))
            accepted = await asyncio.to_thread(self.verdicts.is_accepted, new.version)
        reading.gates = self.policy.judge(findings, accepted=accepted)
        self._report(new.version, reading.gates)
        refuse_blocked(new.version, reading.gates)

    def _examine(self, new: Snapshot, served: Snapshot | None, is_stopped: Callable[[], bool]) -> list[Finding]:
        if served is None or served.model.limited:  # popularity alone is a stopgap: nothing is measured against it
            served = None if new.model.limited else self.shelf.last_used(self.verdicts.is_quarantined)
        return self.policy.examine(new, served, is_stopped)

    def _report(self, version: str, results: list[GateResult]) -> None:
        for result in results:
            self.metrics.gate_results.labels(result.gate, result.result).inc()
            if result.result in ("warned", "accepted"):
                log_event(f"gate_{result.result}", model_version=version, gate=result.gate, detail=result.detail)
