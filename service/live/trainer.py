"""A model for a server that has none: trained once, in a process of its own, while the server answers what it can."""

from __future__ import annotations

import asyncio
import glob
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Never

import msgspec

from service.live.process import child_process, end_of, listen
from service.live.report import Training
from service.live.store import ModelStore
from service.logs import log_event
from service.metrics import Metrics
from service.training.job import (
    Failed,
    Message,
    PopularityReady,
    Progress,
    SkippedRows,
    Trained,
    TrainingJob,
    temporary,
)

_MODULE = "service.training.worker"
_message = msgspec.json.Decoder(Message)


class FallbackTrainer:
    """Trains where the store has looked for a model and has no good one; a model that arrives meanwhile wins.

    Should training fail, what is popular is served, if the data could at least be read.
    """

    def __init__(
        self,
        store: ModelStore,
        data: Path,
        state_dir: Path,
        environment: Mapping[str, str],
        metrics: Metrics,
        after: asyncio.Event | None = None,
    ) -> None:
        """``after`` is set once whoever may bring a model has tried to for the first time."""
        path = store.path
        self._store = store
        self._environment = environment
        self._metrics = metrics
        self._after = after
        self._popularity: Path | None = None
        self._job = TrainingJob(
            data=str(data),
            model_path=str(path),
            beside=str(path.with_name(f"{path.stem}.trained.npz")),
            spare=str(state_dir / "trained.npz"),
            popularity=str(state_dir / "popularity.npz"),
        )

    async def run(self) -> Never:
        """Train if need be, and then never again."""
        if self._after:
            await self._after.wait()
        await self._store.look()
        if not self._store.good.is_set():
            await self._train_until_a_model_arrives()
        while True:
            await asyncio.Event().wait()

    async def _train_until_a_model_arrives(self) -> None:
        log_event("no_model", path=self._job.model_path, data=self._job.data)
        log_event("training")
        self._store.training = Training("running", self._job.data, datetime.now(UTC))
        training = asyncio.create_task(self._train())
        arrival = asyncio.create_task(self._store.good.wait())
        try:
            await asyncio.wait({training, arrival}, return_when=asyncio.FIRST_COMPLETED)
            if self._is_saving:  # what arrived is most likely what was trained: it is there before its maker says so
                await asyncio.wait({training})
        finally:
            trained = training.done()
            for task in (training, arrival):
                task.cancel()
            # Not by awaiting each: a cancellation that comes to us meanwhile would look like theirs.
            await asyncio.wait({training, arrival})
        if trained:
            self._take(training.result())
        else:
            self._conclude("stopped")
            log_event("training_stopped")

    @property
    def _is_saving(self) -> bool:
        return self._store.training is not None and self._store.training.phase == "saving"

    async def _train(self) -> Trained | Failed:
        """Run the process to its end and return how it ended; no temporary file of it stays."""
        pid = 0
        try:
            async with child_process(_MODULE, msgspec.json.encode(self._job), self._environment) as child:
                pid = child.pid
                ended, _ = await asyncio.gather(self._converse(child), listen(child))
                returncode = await child.wait()
        except OSError as error:
            return Failed(f"The training process could not be started: {error.strerror}.")
        except (ValueError, msgspec.MsgspecError):  # a line longer than any of ours, or none of ours
            return Failed("The training process said something that is no message.")
        finally:
            await asyncio.to_thread(self._sweep, pid)
        return ended or Failed(f"The training process {end_of(returncode)}.")

    async def _converse(self, child: asyncio.subprocess.Process) -> Trained | Failed | None:
        """Listen to the end, and return how the process says that it ended."""
        assert child.stdout
        ended: Trained | Failed | None = None
        async for line in child.stdout:
            ended = self._hear(line) or ended
        return ended

    def _sweep(self, pid: int) -> None:
        """Remove what a process that was killed had begun to write."""
        for path in (self._job.model_path, self._job.beside, self._job.spare, self._job.popularity):
            pattern = temporary(Path(glob.escape(path)), pid, "*")
            for leftover in pattern.parent.glob(pattern.name):
                with suppress(OSError):
                    leftover.unlink()

    def _hear(self, line: bytes) -> Trained | Failed | None:
        """Take note of what the process says; return how it ended, once it says so."""
        match _message.decode(line):
            case Progress(phase, done, total):
                self._note(phase=phase, done=done, total=total)
            case SkippedRows(count, first):
                log_event("skipped_rows", count=count, first=first)
            case PopularityReady(path):
                self._popularity = Path(path)
            case Trained() | Failed() as ended:
                return ended
        return None

    def _take(self, ended: Trained | Failed) -> None:
        """Have the trained model served, or what there is in its place."""
        if isinstance(ended, Failed):
            self._conclude("failed", ended.detail)
            self._go_on_without(ended.detail)
            return
        self._conclude("trained")
        log_event("trained", path=ended.path, seconds=ended.seconds)
        if ended.path != self._job.model_path:
            log_event("trained_elsewhere", detail=ended.detail, saved=ended.path)
        elsewhere = Path(ended.path) if ended.path != self._job.model_path else None
        # Popularity too: the import of what was trained may fail, for want of memory or time.
        self._store.stand_in(*filter(None, (elsewhere, self._popularity)))

    def _go_on_without(self, detail: str) -> None:
        log_event("training_failed", detail=detail)
        if self._popularity:
            self._store.stand_in(self._popularity)
        elif not self._store.good.is_set():
            log_event("no_functions", path=self._job.model_path)

    def _conclude(self, outcome: str, detail: str = "") -> None:
        self._note(outcome=outcome, detail=detail, phase="", done=0, total=0)
        self._metrics.trainings.labels(outcome).inc()

    def _note(self, **changes: Any) -> None:
        assert self._store.training
        self._store.training = msgspec.structs.replace(self._store.training, **changes)
