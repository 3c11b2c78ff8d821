"""A real HAProxy that balances between servers, and learns which ones through its admin socket."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.containers import free_port
from tests.support.helpers import need
from tests.support.waiting import until

#: It neither checks the servers nor tries another one if a connection fails: whatever fails behind it, a client sees.
_CONFIGURATION = """
global
    maxconn 500
    stats socket ipv4@127.0.0.1:{admin} level admin
defaults
    mode http
    retries 0
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend clients
    bind 127.0.0.1:{port}
    default_backend servers
backend servers
    balance roundrobin
    server-template server {slots} 127.0.0.1:{nobody} disabled
"""


class HAProxy:
    """A running HAProxy with numbered slots for servers, from 1, all empty at first."""

    def __init__(self, port: int, admin: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._admin = admin

    def add(self, slot: int, url: str) -> None:
        """Send requests to a server from now on."""
        self._command(f"set server servers/server{slot} addr 127.0.0.1 port {url.rpartition(':')[2]}")
        self._command(f"set server servers/server{slot} state ready")

    def forget(self, slot: int) -> None:
        """Send no more requests to the server in a slot."""
        self._command(f"set server servers/server{slot} state maint")

    def is_up(self) -> bool:
        """Say whether it answers at its admin socket."""
        try:
            return bool(self._command("show info"))
        except ConnectionError:
            return False

    def _command(self, line: str) -> str:
        with socket.create_connection(("127.0.0.1", self._admin), timeout=10) as connection:
            connection.sendall(line.encode() + b"\n")
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


@contextmanager
def running_haproxy(directory: Path, slots: int) -> Iterator[HAProxy]:
    """Run HAProxy for the length of a block."""
    need(shutil.which("haproxy"), "HAProxy is missing: apt-get install --no-install-recommends haproxy")
    port, admin, nobody = free_port(), free_port(), free_port()
    file = directory / "haproxy.cfg"
    file.write_text(_CONFIGURATION.format(port=port, admin=admin, nobody=nobody, slots=slots))
    process = subprocess.Popen(["haproxy", "-db", "-q", "-f", file])
    proxy = HAProxy(port, admin)
    try:
        until(lambda: process.poll() is not None or proxy.is_up(), lambda: "HAProxy does not start")
        yield proxy
    finally:
        process.terminate()
        process.wait(timeout=30)
