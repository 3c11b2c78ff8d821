"""The fallback training: a server without a model trains one, in a child process, while it answers what it can."""

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
    DataLayout,
    Failed,
    Message,
    PopularityReady,
    Progress,
    Remark,
    SkippedRows,
    Trained,
    TrainingJob,
)
from service.errors import StateDirectoryError, TrainingError
from service.live.children import child_process, end_of, listen
from service.live.models import Live
from service.live.report import Training
from service.model.storage.shelf import unwritable
from service.model.storage.source import text_of, written_model
from service.observe.logs import log_event
from service.observe.metrics import Metrics
from service.threads import in_threads

_MODULE = "service.children.training"
_message = msgspec.json.Decoder(Message)


class _Outputs(NamedTuple):
    """What the training process inherits: the directory of relative paths, and unnamed files to write to."""

    directory: int
    model: BinaryIO
    popularity: BinaryIO


class _Saved(NamedTuple):
    """The path of the trained model, and why it is not the model path."""

    path: Path
    detail: str
    seconds: float


class FallbackTrainer:
    """Trains if the store found no good model; a model that arrives meanwhile wins.

    If training fails, popular items are served, provided that the data was readable.
    """

    def __init__(
        self,
        live: Live,
        data: Path,
        state_dir: Path,
        environment: Mapping[str, str],
        metrics: Metrics,
        after: asyncio.Event | None = None,
        **layout: str | None,
    ) -> None:
        """``after`` is set once every source of models has been tried once; ``layout`` is that of the data."""
        self._live = live
        self._path = live.reloader.path
        self._data = data
        self._state_dir = state_dir
        self._environment = environment
        self._metrics = metrics
        self._after = after
        self._layout = DataLayout(**layout)
        self._popularity: Path | None = None

    async def run(self) -> Never:
        """Train once, if necessary."""
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
        self._live.training.report = Training("running", text_of(self._data), datetime.now(UTC))
        training = asyncio.create_task(self._train())
        arrival = asyncio.create_task(self._live.slot.good.wait())
        try:
            await asyncio.wait({training, arrival}, return_when=asyncio.FIRST_COMPLETED)
            if (
                self._is_saving
            ):  # the file that arrived is probably the trained one, which exists before the child reports it
                await asyncio.wait({training})
        finally:
            trained = training.done()
            for task in (training, arrival):
                task.cancel()
            # Awaiting each would confuse a cancellation of this task with theirs.
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
        """Run the process, save its model without overwriting anything, and return the result."""
        try:
            async with in_threads(self._outputs()) as outputs:
                ended = await self._run(outputs)
                if isinstance(ended, Failed):
                    return ended
                return await asyncio.to_thread(self._save, outputs.model, ended.seconds)
        except (StateDirectoryError, TrainingError) as error:
            return Failed(error.marked)

    @contextmanager
    def _outputs(self) -> Iterator[_Outputs]:
        """Open the child's directory and unnamed files, so that it needs no permissions. Raises StateDirectoryError."""
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
        job = msgspec.json.encode(TrainingJob(text_of(self._data), *lent, text_of(self._state_dir), self._layout))
        try:
            async with child_process(_MODULE, job, self._environment, pass_fds=lent) as child:
                ended, _ = await asyncio.gather(self._converse(child, outputs), listen(child))
                returncode = await child.wait()
        except OSError as error:
            return Failed(f"The training process could not be started: {error.strerror}.")
        except (ValueError, msgspec.MsgspecError):  # a line that is too long or malformed
            return Failed("The training process sent a line that is not a message.")
        return ended or Failed(f"The training process {end_of(returncode)}.")

    async def _converse(self, child: asyncio.subprocess.Process, outputs: _Outputs) -> Trained | Failed | None:
        """Read messages to the end and return the outcome that the process reports."""
        assert child.stdout
        ended: Trained | Failed | None = None
        async for line in child.stdout:
            message = _message.decode(line)
            if isinstance(message, PopularityReady):
                await asyncio.to_thread(self._keep_popularity, outputs.popularity)
            ended = self._hear(message) or ended
        return ended

    def _hear(self, message: Message) -> Trained | Failed | None:
        """Handle a message; return the outcome once it is reported."""
        match message:
            case Progress(phase, done, total):
                self._note(phase=phase, done=done, total=total)
            case SkippedRows(count, first):
                log_event("skipped_rows", count=count, first=first)
            case Remark(text):
                log_event("training_data", text=text)
            case Trained() | Failed():
                return message
        return None

    def _keep_popularity(self, written: BinaryIO) -> None:
        path = self._state_dir / "popularity.npz"
        with suppress(TrainingError):  # without it, a failed training leaves nothing to serve
            _place(written, path)
            self._popularity = path

    def _save(self, written: BinaryIO, seconds: float) -> _Saved:
        """Save the model at the model path, or next to it, or in the state directory. Raises TrainingError."""
        path = self._path
        beside = path.with_name(f"{path.stem}.trained.npz")
        detail = ""
        # If a full disk or a read-only volume refuses both, the state directory may be on another volume.
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
        """Offer the trained model, or its fallback, for serving."""
        if isinstance(ended, Failed):
            error = TrainingError(ended.detail)
            self._conclude("failed", error.public)
            self._go_on_without(str(error))
            return
        self._conclude("trained")
        log_event("trained", path=str(ended.path), seconds=ended.seconds)
        elsewhere = None
        if ended.path != self._path:
            elsewhere = ended.path
            log_event("trained_elsewhere", detail=ended.detail, saved=str(elsewhere))
        # Popularity too, because the import of the trained model may run out of memory or time.
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
    """Copy the file that the process wrote, because it may still have the original open. Raises TrainingError."""
    with written_model(path, overwrite=overwrite) as file:
        written.seek(0)
        shutil.copyfileobj(written, file, 2**20)
