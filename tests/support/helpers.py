"""What tests of live serving share: model files, a store at work, and waiting for a condition, never on luck."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from service.environment import child_environment
from service.live import preparing
from service.live.admission import GatePolicy
from service.live.importing import ImportLimits, import_in_child
from service.live.models import Rollout
from service.live.probation import Allowance
from service.live.watcher import Watcher
from service.model.factors import Factors
from service.model.scoring import scoring
from service.model.storage.shelf import Shelf
from service.model.storage.snapshot import Snapshot
from service.model.storage.source import Source
from service.observe.metrics import Metrics
from tests.support.models import make_factors
from tests.support.stores import Store

WATCH_SECONDS = 0.05
#: A deadline for busy machines; what tests wait for usually comes in a second.
PATIENCE_SECONDS = 60.0


def need(condition: object, sentence: str) -> None:
    """Skip the test where something is missing (the sentence says what to do); on CI that is a failure."""
    if condition:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(sentence)
    pytest.skip(sentence)


async def eventually(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Return once the condition holds; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still not so after {seconds} s"
        await asyncio.sleep(0.005)


def model_bytes(seed: int = 0, factors: Factors | None = None) -> bytes:
    """Return an npz model file; two seeds give two models."""
    made = factors or make_factors(users=20, items=30, seed=seed, pairs=60)
    seen = made.seen
    arrays: dict[str, Any] = (
        {"seen_indptr": seen.indptr, "seen_indices": seen.items, "seen_weights": seen.weights} if seen else {}
    )
    file = io.BytesIO()
    np.savez(
        file,
        user_factors=made.user_factors,
        item_factors=made.item_factors,
        user_ids=made.user_ids,
        item_ids=made.item_ids,
        **arrays,
    )
    return file.getvalue()


def version(content: bytes) -> str:
    """Return the version of the model in a file of this content."""
    return hashlib.sha256(content).hexdigest()[:16]


def put(path: Path, content: bytes) -> str:
    """Replace the file by one rename, as everybody should, and return the version."""
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(content)
    beside.replace(path)
    return version(content)


class Place:
    """A directory with a model path and a state directory, and stores of it; a new store is a new start."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "models" / "model.npz"
        self.shelf = Shelf(directory / "state" / "snapshots", keep=3)
        self.limits = ImportLimits(60, 0, child_environment())
        self.settle_seconds = WATCH_SECONDS
        self.gate_policy = GatePolicy()
        self.allowance = Allowance()
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def store(self) -> Store:
        """Return a store that has not looked at anything yet."""
        metrics = Metrics(CollectorRegistry())
        return Store(
            self.path,
            self.shelf,
            self.limits,
            metrics,
            settle_seconds=self.settle_seconds,
            rollout=Rollout(self.gate_policy, self.allowance),
        )

    @asynccontextmanager
    async def started(self, *, watched: bool = True, watch_seconds: float = WATCH_SECONDS) -> AsyncIterator[Store]:
        """Run a store, and its watcher, for the time of a block."""
        store = self.store()
        async with at_work(store.run()):
            if not watched:
                yield store
                return
            async with at_work(Watcher(self.path, store.request_reload, watch_seconds, metrics_of(store)).run()):
                yield store

    @asynccontextmanager
    async def serving(self, content: bytes, *, watched: bool = True) -> AsyncIterator[Store]:
        """Run a store that serves this model already."""
        served = put(self.path, content)
        async with self.started(watched=watched) as store:
            await until_served(store, served)
            await eventually(lambda: self.is_clean)
            yield store

    @property
    def is_clean(self) -> bool:
        """Say whether no temporary file is left behind."""
        return not list(self.shelf.root.glob(".*"))


@asynccontextmanager
async def at_work(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run something in the background for the time of a block; should it fail, so does the test."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def metrics_of(store: Store) -> Metrics:
    """Return the metrics that a store was given."""
    return store.metrics


def metric(store: Store, name: str, **labels: str) -> float | None:
    """Return one sample as a scrape would, None where there is none."""
    return metrics_of(store).registry.get_sample_value(name, labels)


def serves(store: Store, wanted: str) -> bool:
    """Say whether a store serves this version and says so everywhere."""
    return (
        store.current is not None
        and store.current.version == wanted
        and store.state == "ready"
        and metric(store, "als_model_stale") == 0
    )


async def until_served(store: Store, wanted: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Return once a store serves this version."""
    await eventually(lambda: serves(store, wanted), seconds)


def rejected(store: Store, reason: str) -> bool:
    """Return whether the last reload was rejected for this reason, in every place that reports it."""
    last = store.last_reload
    return (
        last is not None
        and (last.outcome, last.reason) == ("rejected", reason)
        and metric(store, "als_model_last_reload_successful") == 0
        and bool(metric(store, "als_model_reloads_total", outcome="rejected", reason=reason))
    )


def rejections(store: Store) -> float:
    """Return how many reloads were rejected, for any reason."""
    samples = [sample for family in metrics_of(store).reloads.collect() for sample in family.samples]
    return sum(sample.value for sample in samples if sample.labels["outcome"] == "rejected" and "total" in sample.name)


def mount(*arguments: str) -> None:
    """Mount something, which takes root and a kernel that allows it."""
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    need(done.returncode == 0, f"mount {' '.join(arguments)} failed ({done.stderr.strip()}): run as root")


@contextmanager
def mounted(*arguments: str) -> Iterator[None]:
    """Mount something for the time of a block; the last argument is where."""
    mount(*arguments)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", arguments[-1]], check=True)


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Let this process open nothing more for the length of a block."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def stand_in(directory: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Start this Python code in place of the importing process; ``go_on()`` in it becomes the real one."""
    script = directory / "stand-in"
    real = f"REAL = {sys.executable!r}"
    go_on = "def go_on(*before): command = [*before, REAL, *sys.argv[1:]]; os.execvp(command[0], command)"
    script.write_text(f"#!{sys.executable}\nimport os, sys, time\n{real}\n{go_on}\n{body}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


def in_child(directory: Path, monkeypatch: pytest.MonkeyPatch, module: str, lines: str) -> None:
    """Run these lines in every child process that runs a module, ours or a started server's, before it works.

    ``child`` is the module.
    """
    script = directory / "stand-in"
    script.write_text(
        f"#!{sys.executable} -I\n"
        "import os, sys, time\n"
        "*options, module = sys.argv[1 : sys.argv.index('-m') + 2]\n"
        f"if module == {module!r}:\n"
        f"    import {module} as child\n"
        + "".join(f"    {line}\n" for line in lines.splitlines())
        + "    child.main()\n"
        "elif module == 'service':\n"
        "    from service.cli.main import main\n"
        "    sys.executable = sys.argv[0]\n"
        "    main(sys.argv[sys.argv.index('-m') + 2 :])\n"
        "else:\n"
        f"    os.execv({sys.executable!r}, [{sys.executable!r}, *sys.argv[1:]])\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


def held_back(directory: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Hold every import back: the first file returned appears when one waits, creating the second lets it go on."""
    waits, go = directory / "waits", directory / "go"
    body = f"open({str(waits)!r}, 'w').close()\nwhile not os.path.exists({str(go)!r}): time.sleep(0.005)\ngo_on()"
    stand_in(directory, monkeypatch, body)
    return waits, go


def is_alive(pid: int) -> bool:
    """Say whether a process runs (one that ended and was not reaped counts as alive)."""
    return Path(f"/proc/{pid}").exists()


async def finished(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)


def answer(snapshot: Snapshot) -> list[int | str]:
    """Answer one request from a snapshot."""
    return snapshot.model.item_ids.at(scoring.recommend(snapshot.model, 0, 5).rows)


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the events that were logged."""
    return [record.event for record in caplog.records if hasattr(record, "event")]


def counted_imports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the versions that stores import from now on; two imports at a time are an error."""
    begun: list[str] = []
    ended: list[str] = []

    async def counted(source: Source, shelf: Shelf, limits: ImportLimits) -> None:
        assert len(begun) == len(ended), "one import at a time"
        begun.append(source.version)
        try:
            await import_in_child(source, shelf, limits)
        finally:
            ended.append(source.version)

    monkeypatch.setattr(preparing, "import_in_child", counted)
    return begun
