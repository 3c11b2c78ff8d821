"""Servers of one model behind a proxy, replaced one after the other as a rolling update of Kubernetes does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from signal import SIGTERM

from tests.support.haproxy import HAProxy, running_haproxy
from tests.support.running import RunningServer


class ProxiedFleet:
    """Servers that each have a state directory of their own, and so import for themselves, like pods."""

    def __init__(self, model: Path, directory: Path, proxy: HAProxy, drain_seconds: float) -> None:
        self.servers: dict[int, RunningServer] = {}
        self.stopped: list[RunningServer] = []
        self._model, self._directory, self._proxy, self._drain_seconds = model, directory, proxy, drain_seconds
        self._numbers = count(1)

    def start(self, slot: int) -> None:
        """Start a server, and let the proxy know it once it is ready."""
        state = self._directory / f"state-{next(self._numbers)}"
        server = RunningServer(self._model, state, drain_seconds=self._drain_seconds)
        self.servers[slot] = server
        server.wait_until_ready()
        self._proxy.add(slot, server.url)

    def stop(self, slot: int, late_seconds: float) -> None:
        """Send SIGTERM to a server; the proxy forgets it only so many seconds later."""
        server = self.servers.pop(slot)
        self.stopped.append(server)
        server.process.send_signal(SIGTERM)
        server.wait_for("draining")
        time.sleep(late_seconds)
        self._proxy.forget(slot)

    def restart(self, late_seconds: float) -> None:
        """Replace each server by a new one that is ready before the old one stops."""
        for slot in list(self.servers):
            (free,) = set(range(1, len(self.servers) + 2)) - set(self.servers)
            self.start(free)
            self.stop(slot, late_seconds)

    def wait_until_serving(self, version: str) -> None:
        """Return once every server serves this version."""
        for server in self.servers.values():
            server.wait_until_serving(version)


@contextmanager
def running_fleet(
    model: Path, directory: Path, size: int, drain_seconds: float
) -> Iterator[tuple[ProxiedFleet, HAProxy]]:
    """Run so many servers behind a proxy for the length of a block."""
    with running_haproxy(directory, size + 1) as proxy:
        fleet = ProxiedFleet(model, directory, proxy, drain_seconds)
        try:
            for slot in range(1, size + 1):
                fleet.start(slot)
            yield fleet, proxy
        finally:
            for server in (*fleet.servers.values(), *fleet.stopped):
                server.stop()
