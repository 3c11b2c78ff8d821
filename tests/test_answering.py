"""What cannot be read as a request is answered and counted like every other error."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.support.helpers import model_bytes, put
from tests.support.running import RunningServer, running_server

TOO_LONG = "The URL or a header is longer than 8190 bytes; send long lists of ids in the body of a POST."
NOT_HTTP = "This is not a valid HTTP/1.1 request; percent-encode its URL, and speak HTTP without TLS at this port."
SENT = {
    "long list of ids": (b"GET /v1/users/u/recommendations?exclude=" + b"id-of-an-item," * 900 + b" HTTP/1.1\r\n", 431),
    "long header": (b"GET /healthz HTTP/1.1\r\nCookie: " + b"c" * 9000 + b"\r\n", 431),
    "URL that is not encoded": ("GET /v1/users/Jürgen/recommendations HTTP/1.1\r\n".encode(), 400),
    "lower case": (b"get /healthz HTTP/1.1\r\n", 400),
    "another protocol": (b"DESCRIBE rtsp://x/healthz RTSP/9\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", 400),
    "header without a name": (b"GET /healthz HTTP/1.1\r\n: value\r\n", 400),
}


def said(server: RunningServer, sent: bytes) -> tuple[bytes, bytes]:
    """Send bytes, and return the head and the body of the answer, after which the server closes."""
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=10) as client:
        client.sendall(sent + b"\r\n")
        with client.makefile("rb") as answer:
            head, _, body = answer.read().partition(b"\r\n\r\n")
    return head, body


@pytest.mark.parametrize("what", SENT)
def test_what_is_no_request_is_a_problem(tmp_path: Path, what: str) -> None:
    """A problem document, whose sentence names the remedy and quotes nothing, and one more request in the metrics."""
    sent, status = SENT[what]
    put(tmp_path / "m.npz", model_bytes(1))
    with running_server(tmp_path / "m.npz", tmp_path / "state") as server:
        head, body = said(server, sent)
        metrics = said(server, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n")[1].decode()
    assert b"application/problem+json" in head
    problem = json.loads(body)
    assert (problem["status"], problem["detail"]) == (status, TOO_LONG if status == 431 else NOT_HTTP)
    assert f"X-Request-Id: {problem['request_id']}".encode() in head
    assert f'als_http_requests_total{{arm="served",method="OTHER",route="unmatched",status="{status}"}} 1.0' in metrics
