"""The address of a running server's health checks: noted in its state directory, and asked by ``als-serve health``."""

from __future__ import annotations

import http.client
import json
import secrets
import socket
from pathlib import Path

from service.errors import UnhealthyError
from service.files import written_whole

_NAME = "address.json"
#: What a socket that listens at every address is asked by.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - replaced, not bound


def note_address(state_dir: Path, listening: socket.socket) -> None:
    """Note where the health of this server can be asked for. Raises OSError."""
    host, port = listening.getsockname()[:2]
    path = state_dir / _NAME
    with written_whole(path, path.with_suffix(f".{secrets.token_hex(4)}")) as file:
        file.write(json.dumps({"host": _LOOPBACK.get(host, host), "port": port}).encode())


def ask_health(state_dir: Path, seconds: float) -> None:
    """Ask the server that last noted its address here for /healthz, through no proxy. Raises UnhealthyError."""
    try:
        noted = json.loads((state_dir / _NAME).read_bytes())
        host, port = str(noted["host"]), int(noted["port"])
    except (OSError, ValueError, TypeError, KeyError):
        raise UnhealthyError(
            f"No server has noted its address in {state_dir}; start one, or set ALS_STATE_DIR to its state directory."
        ) from None
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise UnhealthyError(f"The server at {host} port {port} does not answer ({error}); see its log.") from None
    finally:
        connection.close()
    if status != http.client.OK:
        raise UnhealthyError(f"The server at {host} port {port} is not healthy (status {status}); see its log.")
