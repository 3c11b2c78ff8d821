"""A model for a server that has none: trained once, in a process of its own, while the server answers what it can."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, NamedTuple, Never

import msgspec

from service.children.jobs import (
    Failed,
    Message,
    PopularityReady,
    Progress,
    SkippedRows,
    Trained,
    TrainingJob,
)
from service.errors import StateDirectoryError, TrainingError
from service.live.children import child_process, end_of, listen
from service.live.models import Live
from service.live.report import Training
from service.model.storage.shelf import unwritable
from service.model.storage.source import written_model
from service.observe.logs import log_event
from service.observe.metrics import Metrics
from service.threads import in_threads

_MODULE = "service.children.training"
_message = msgspec.json.Decoder(Message)


class _Outputs(NamedTuple):
    """What the process that trains is lent: where relative paths begin, and files without a name to write to."""

    directory: int
    model: BinaryIO
    popularity: BinaryIO


class _Saved(NamedTuple):
    """Where the trained model is, and why that is not the model path."""

    path: Path
    detail: str
    seconds: float


class FallbackTrainer:
    """Trains where the store has looked for a model and has no good one; a model that arrives meanwhile wins.

    Should training fail, what is popular is served, if the data could at least be read.
    """

    def __init__(
        self,
        live: Live,
        data: Path,
        state_dir: Path,
        environment: Mapping[str, str],
        metrics: Metrics,
        after: asyncio.Event | None = None,
    ) -> None:
        """``after`` is set once everything that may bring a model has tried for the first time."""
        self._live = live
        self._path = live.reloader.path
        self._data = data
        self._state_dir = state_dir
        self._environment = environment
        self._metrics = metrics
        self._after = after
        self._popularity: Path | None = None

    async def run(self) -> Never:
        """Train if need be, and then never again."""
        if self._after:
            await self._after.wait()
        await self._live.reloader.look()
        if not self._live.slot.good.is_set():
            await self._train_until_a_model_arrives()
        while True:
            await asyncio.Event().wait()

    async def _train_until_a_model_arrives(self) -> None:
        log_event("no_model", path=str(self._path), data=str(self._data))
        log_event("training")
        self._live.training.report = Training("running", str(self._data), datetime.now(UTC))
        training = asyncio.create_task(self._train())
        arrival = asyncio.create_task(self._live.slot.good.wait())
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
        report = self._live.training.report
        return report is not None and report.phase == "saving"

    async def _train(self) -> _Saved | Failed:
        """Run the process to its end, put its model where nothing is lost by it, and return how that went."""
        try:
            async with in_threads(self._outputs()) as outputs:
                ended = await self._run(outputs)
                if isinstance(ended, Failed):
                    return ended
                return await asyncio.to_thread(self._save, outputs.model, ended.seconds)
        except (StateDirectoryError, TrainingError) as error:
            return Failed(str(error))

    @contextmanager
    def _outputs(self) -> Iterator[_Outputs]:
        """Open what is lent: its user needs no permission, and none of it outlives us. Raises StateDirectoryError."""
        with ExitStack() as stack:
            try:
                self._state_dir.mkdir(parents=True, exist_ok=True)
                directory = os.open(".", os.O_PATH)
                stack.callback(os.close, directory)
                model, popularity = (stack.enter_context(TemporaryFile(dir=self._state_dir)) for _ in range(2))
            except OSError as error:
                raise unwritable(self._state_dir, error) from None
            yield _Outputs(directory, model, popularity)

    async def _run(self, outputs: _Outputs) -> Trained | Failed:
        lent = (outputs.directory, outputs.model.fileno(), outputs.popularity.fileno())
        job = msgspec.json.encode(TrainingJob(str(self._data), *lent, place=str(self._state_dir)))
        try:
            async with child_process(_MODULE, job, self._environment, pass_fds=lent) as child:
                ended, _ = await asyncio.gather(self._converse(child, outputs), listen(child))
                returncode = await child.wait()
        except OSError as error:
            return Failed(f"The training process could not be started: {error.strerror}.")
        except (ValueError, msgspec.MsgspecError):  # a line longer than any of ours, or none of ours
            return Failed("The training process sent a line that is not a message.")
        return ended or Failed(f"The training process {end_of(returncode)}.")

    async def _converse(self, child: asyncio.subprocess.Process, outputs: _Outputs) -> Trained | Failed | None:
        """Listen to the end, and return how the process says that it ended."""
        assert child.stdout
        ended: Trained | Failed | None = None
        async for line in child.stdout:
            message = _message.decode(line)
            if isinstance(message, PopularityReady):
                await asyncio.to_thread(self._keep_popularity, outputs.popularity)
            ended = self._hear(message) or ended
        return ended

    def _hear(self, message: Message) -> Trained | Failed | None:
        """Take note of what the process says; return how it ended, once it says so."""
        match message:
            case Progress(phase, done, total):
                self._note(phase=phase, done=done, total=total)
            case SkippedRows(count, first):
                log_event("skipped_rows", count=count, first=first)
            case Trained() | Failed():
                return message
        return None

    def _keep_popularity(self, written: BinaryIO) -> None:
        path = self._state_dir / "popularity.npz"
        with suppress(TrainingError):  # without it, a training that fails leaves nothing to serve
            _place(written, path)
            self._popularity = path

    def _save(self, written: BinaryIO, seconds: float) -> _Saved:
        """Put the model at the model path, or beside what is there, or in the state directory. Raises TrainingError."""
        path = self._path
        beside = path.with_name(f"{path.stem}.trained.npz")
        detail = ""
        # Where a full disk or a read-only volume refuses both, the state directory may be on another one.
        for place in (path, beside):
            try:
                _place(written, place, overwrite=place == beside)
            except TrainingError as error:
                detail = detail or str(error)
            else:
                return _Saved(place, detail, seconds)
        spare = self._state_dir / "trained.npz"
        _place(written, spare)
        return _Saved(spare, detail, seconds)

    def _take(self, ended: _Saved | Failed) -> None:
        """Have the trained model served, or what there is in its place."""
        if isinstance(ended, Failed):
            self._conclude("failed", ended.detail)
            self._go_on_without(ended.detail)
            return
        self._conclude("trained")
        log_event("trained", path=str(ended.path), seconds=ended.seconds)
        elsewhere = None
        if ended.path != self._path:
            elsewhere = ended.path
            log_event("trained_elsewhere", detail=ended.detail, saved=str(elsewhere))
        # Popularity too: the import of what was trained may fail, for want of memory or time.
        self._live.fallback.stand_in(*filter(None, (elsewhere, self._popularity)))

    def _go_on_without(self, detail: str) -> None:
        log_event("training_failed", detail=detail)
        if self._popularity:
            self._live.fallback.stand_in(self._popularity)
        elif not self._live.slot.good.is_set():
            log_event("no_functions", path=str(self._path))

    def _conclude(self, outcome: str, detail: str = "") -> None:
        self._note(outcome=outcome, detail=detail, phase="", done=0, total=0)
        self._metrics.trainings.labels(outcome).inc()

    def _note(self, **changes: Any) -> None:
        assert self._live.training.report
        self._live.training.report = msgspec.structs.replace(self._live.training.report, **changes)


def _place(written: BinaryIO, path: Path, *, overwrite: bool = True) -> None:
    """Copy what the process has written: it may hold the original open. Raises TrainingError."""
    with written_model(path, overwrite=overwrite) as file:
        written.seek(0)
        shutil.copyfileobj(written, file, 2**20)
