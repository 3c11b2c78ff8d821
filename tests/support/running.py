"""The real server as a process of its own, on a free port, for tests and benchmarks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

Found = TypeVar("Found")


def ask(request: str | urllib.request.Request) -> tuple[int, Any]:
    """Return the status and the JSON of one request."""
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


class RunningServer:
    """A started server; its log lines, as JSON, are collected in ``events``.

    It is started by ``command``, or as ``python -m module serve``, in the working directory ``cwd``.
    """

    def __init__(
        self,
        model_path: Path,
        state_dir: Path,
        environment: Mapping[str, str] | None = None,
        module: str = "service",
        command: Sequence[str | Path] = (),
        cwd: Path | None = None,
        **settings: object,
    ) -> None:
        variables = {"ALS_" + name.upper(): str(value) for name, value in settings.items()}
        inherited = {name: text for name, text in os.environ.items() if not name.startswith("ALS_")}
        self.events: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            command or [sys.executable, *(["-I", "-u"] if module == "service" else []), "-m", module, "serve"],
            cwd=cwd,
            env=inherited
            | {"SSL_CERT_FILE": os.devnull}  # authorities, which nothing here needs, and each start would read
            | dict(environment or {})
            | {"ALS_MODEL_PATH": str(model_path), "ALS_STATE_DIR": str(state_dir), "ALS_PORT": "0"}
            | {"ALS_LOG_FORMAT": "json", "ALS_WATCH_SECONDS": "0.2", "ALS_DRAIN_SECONDS": "0"}
            | variables,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._logged = threading.Condition()
        self._reader = threading.Thread(target=self._collect, daemon=True)
        self._reader.start()

    def _collect(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            try:
                self.events.append(json.loads(line))
            except ValueError:
                self.events.append({"event": "not_json", "message": line})
            with self._logged:
                self._logged.notify_all()

    def wait_for(self, event: str, seconds: float = 60, **facts: object) -> dict[str, Any]:
        """Return the first event of this name (and these facts) once it was logged."""

        def found() -> dict[str, Any] | None:
            return next((e for e in list(self.events) if e["event"] == event and facts.items() <= e.items()), None)

        return self.wait_until(found, seconds, f"no event {event!r} in")

    @property
    def url(self) -> str:
        """Return the address, once the server listens."""
        return f"http://127.0.0.1:{self.wait_for('listening')['port']}"

    def get(self, path: str) -> tuple[int, Any]:
        """Return the status and the JSON of one request."""
        return ask(self.url + path)

    def post(self, path: str, body: object) -> tuple[int, Any]:
        """Return the status and the JSON of one request with a body."""
        headers = {"Content-Type": "application/json"}
        return ask(urllib.request.Request(self.url + path, json.dumps(body).encode(), headers))

    def wait_until_ready(self, seconds: float = 60) -> None:
        """Return once the server says that it is ready."""
        self.wait_until(lambda: self.get("/readyz")[0] == 200, seconds)

    def wait_until_serving(self, version: str, seconds: float = 60) -> None:
        """Return once this version is served."""
        self.wait_until(lambda: self.get("/v1/model")[1]["model_version"] == version, seconds)

    def wait_until(
        self, happened: Callable[[], Found | None], seconds: float = 60, failure: str = "it did not happen:"
    ) -> Found:
        """Return what is there once something has happened: look at each event, and now and then between them."""
        deadline = time.monotonic() + seconds
        while not (found := happened()):
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError(f"{failure} {self.events}")
            with self._logged:
                self._logged.wait(0.05)
        return found

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(timeout=60)
        self._reader.join()
        if self.process.stderr:
            self.process.stderr.close()
        return code


@contextmanager
def running_server(
    model_path: Path,
    state_dir: Path,
    environment: Mapping[str, str] | None = None,
    module: str = "service",
    command: Sequence[str | Path] = (),
    cwd: Path | None = None,
    **settings: object,
) -> Iterator[RunningServer]:
    """Run a server for the length of a block; ``environment`` is added to ours."""
    server = RunningServer(model_path, state_dir, environment, module, command, cwd, **settings)
    try:
        yield server
    finally:
        server.stop(signal.SIGINT)
