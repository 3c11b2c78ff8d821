"""The S3 follower: polls for a newer model or catalog and downloads it to its path, where the watcher finds it."""

from __future__ import annotations

import asyncio
import hashlib
import random
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Never, TypeAlias

import msgspec

from service.errors import AlsServeError, DownloadCorruptError, DownloadTooLargeError, S3NotFoundError
from service.files import written_whole
from service.live.background import set_within
from service.live.report import Following, Poll
from service.model.storage.source import Signature, look
from service.observe.logs import log_event
from service.observe.metrics import Metrics
from service.s3.client import connected
from service.s3.failures import deadline
from service.s3.fetching import fetch, stands_at, sweep
from service.s3.finding import find
from service.s3.location import Location
from service.s3.pointer import MALFORMED
from service.s3.session import Region
from service.s3.versions import Download, Found, Marker

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client

Followed: TypeAlias = Literal["model", "items", "candidate"]

#: Jitter, so that many servers do not poll at once.
_JITTER = 0.2
#: After failures in a row: at most 1, 2, 4, … seconds, up to this or the poll interval.
_LONGEST_PAUSE_SECONDS = 60.0
#: The pause after a wasted download, which would probably fail again.
_LONGEST_CORRUPT_PAUSE_SECONDS = 3600.0
#: The deadline of an answer without a model.
_LOOK_SECONDS = 30.0
_REMEMBERED = 10
_following = msgspec.json.Decoder(Following)


#: What can be followed, and what stays while S3 fails.
_KEPT: dict[Followed, str] = {"model": "the served model", "items": "the catalog", "candidate": "the candidate"}


class S3Follower:
    """Keeps the file at a path equal to the latest model, or file of items, in S3.

    ``following`` describes its state; ``polled`` is set once the first poll has ended. A failure never removes
    anything: it is counted, logged and retried. Downloads are recorded in the state directory, so that no complete
    model is downloaded twice, not even a rejected one.
    """

    def __init__(
        self,
        location: Location,
        path: Path,
        state_dir: Path,
        metrics: Metrics,
        *,
        poll: float,
        timeout: float,
        payer: str = "owner",
        most_bytes: int | None = None,
        followed: Followed = "model",
    ) -> None:
        """``poll`` is the seconds between polls, ``timeout`` and ``most_bytes`` are the limits of one download.

        ``payer`` pays for requests: the "owner" of the bucket, or the "requester". ``followed`` is what the file has.
        """
        self.following = Following(str(location))
        self.polled = asyncio.Event()
        self._location = location
        self._path = path
        mark = hashlib.sha256(f"{location} {path.absolute()}".encode(errors="surrogateescape")).hexdigest()[:8]
        self._memory = state_dir / f"s3-{mark}.json"
        self._metrics = metrics
        self._poll_seconds = poll
        self._timeout = timeout
        self._payer = payer
        self._most_bytes = most_bytes
        self._region: Region | None = None
        self._marker: Marker | None = None
        self._succeeded = time.monotonic()
        self._followed = followed
        self._requested = asyncio.Event()
        metrics.s3_poll_interval.labels(followed).set(poll)
        metrics.s3_seconds_since_success.labels(followed).set_function(lambda: time.monotonic() - self._succeeded)

    def request(self) -> None:
        """Request a poll now."""
        self._requested.set()

    async def run(self) -> Never:
        """Poll forever."""
        log_event("s3_following", uri=str(self._location), seconds=self._poll_seconds, followed=self._followed)
        try:
            await self._follow()
        finally:
            self.polled.set()  # even after an unexpected error, nobody waits forever

    async def _follow(self) -> Never:
        await asyncio.to_thread(self._recall)
        if await self._has_a_file():
            await self._rest(random.uniform(0, self._poll_seconds))  # noqa: S311 - spreads load, hides nothing
        failures = 0
        while True:
            try:
                # A client reads its credentials once, so after a failure only a new client can recover.
                async with connected(self._location, self._payer, on_region=self._name_region) as client:
                    while True:
                        await self._poll(client)
                        failures = 0
                        await self._rest(self._poll_seconds * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311 - as above
            except AlsServeError as error:  # and nothing else comes out of there
                self._fail(error)
                await self._rest(self._pause(failures, error))
                failures += 1

    async def _rest(self, seconds: float) -> None:
        """Wait until the time has passed, or a poll is requested."""
        await set_within(seconds, self._requested)
        self._requested.clear()

    def _name_region(self, region: Region) -> None:
        if region != self._region:  # once, not with every client
            self._region = region
            log_event("s3_region", region=region.name, source=region.source)

    async def _poll(self, client: S3Client) -> None:
        """Poll once, and download a new model. Raises S3Error."""
        # If the file is gone, the model in S3 is needed, known or not.
        known = self._marker if await self._has_a_file() else None
        async with deadline(min(_LOOK_SECONDS, self._timeout), self._location):
            found = await self._find(client, known)
        self._succeeded = time.monotonic()
        if found is None:
            self._conclude("unchanged")
            return
        here = await self._here(found)
        await self._take_note(here or await self._download(client, found))
        self._conclude("unchanged" if here else "downloaded")
        self._marker = found.marker

    async def _find(self, client: S3Client, known: Marker | None) -> Found | None:
        """Return what is to be at the path, None if that is known. Raises S3Error."""
        return await find(client, self._location, known)

    async def _has_a_file(self) -> bool:
        return isinstance(await asyncio.to_thread(look, self._path), Signature)

    async def _here(self, found: Found) -> Download | None:
        """Return the record of this version if it is already at the path, even if someone else put it there."""
        earlier = next((download for download in self.following.downloads if download.is_of(found)), None)
        sha256 = found.sha256 or (earlier.sha256 if earlier else None)
        if sha256 is None or not await asyncio.to_thread(stands_at, self._path, found.size, sha256):
            return None
        brought = earlier or self.following.download_of(sha256)
        if brought and (brought.key, brought.version_id) == (found.key, found.version_id):
            return brought
        return Download(
            key=found.key,
            version_id=found.version_id,
            etag=found.etag,
            sha256=sha256,
            bytes=found.size,
            modified_at=found.modified_at,
            downloaded_at=brought.downloaded_at if brought else datetime.now(UTC),
            seconds=brought.seconds if brought else None,
        )

    async def _download(self, client: S3Client, found: Found) -> Download:
        if self._most_bytes is not None and found.size > self._most_bytes:
            raise DownloadTooLargeError(
                f"{self._location.at(found.key)} has {found.size} bytes, more than the {self._most_bytes // 2**20} MB "
                "that may be imported, and was not downloaded; raise ALS_MAX_MODEL_MB if it is good."
            )
        log_event("s3_downloading", key=found.key, bytes=found.size)
        async with deadline(self._timeout, self._location.at(found.key)):
            download = await fetch(client, self._location.bucket, found, self._path, self._received)
        assert download.seconds is not None
        self._metrics.s3_download_seconds.labels(self._followed).observe(download.seconds)
        log_event("s3_downloaded", key=found.key, bytes=download.bytes, seconds=download.seconds)
        return download

    def _received(self, count: int) -> None:
        self._succeeded = time.monotonic()  # a large model takes a while, and S3 is healthy
        self._metrics.s3_download_bytes.labels(self._followed).inc(count)

    async def _take_note(self, download: Download) -> None:
        """Record a download as the latest, in memory and on disk."""
        if download in self.following.downloads[:1]:
            return
        # A model that was published again, unchanged, is recorded by its new place.
        earlier = (before for before in self.following.downloads if before.sha256 != download.sha256)
        self.following.downloads = [download, *earlier][:_REMEMBERED]
        self._measure_downloads()
        await asyncio.to_thread(self._remember)

    def _fail(self, error: AlsServeError) -> None:
        last = self.following.last_poll
        if last is None or last.reason != error.code:  # once, not with every attempt
            log_event("s3_failed", reason=error.code, detail=str(error), kept=_KEPT[self._followed])
        self._conclude("failed", error)

    def _conclude(
        self, outcome: Literal["unchanged", "downloaded", "failed"], error: AlsServeError | None = None
    ) -> None:
        """Record how a poll ended; every outcome passes through here."""
        last, now = self.following.last_poll, datetime.now(UTC)
        if error is None:
            self._succeeded, self.following.last_success_at = time.monotonic(), now
            if last and last.outcome == "failed":
                log_event("s3_recovered", uri=str(self._location))
        reason, detail = (error.code, str(error)) if error else ("", "")
        self.following.last_poll = Poll(outcome, reason, detail, now)
        self._metrics.s3_polls.labels(self._followed, outcome, reason).inc()
        self.polled.set()

    def _pause(self, failures: int, error: AlsServeError) -> float:
        """Return the pause after this many failures in a row: random, up to a limit that doubles (full jitter)."""
        limit = min(max(_longest_pause(error), self._poll_seconds), 2.0 ** min(failures, 32))
        return random.uniform(0, limit)  # noqa: S311 - as above

    def _recall(self) -> None:
        """Read the downloads of earlier processes, and remove incomplete ones."""
        sweep(self._path)
        try:
            before = _following.decode(self._memory.read_bytes())
        except (OSError, *MALFORMED):  # at worst, a model is downloaded again
            return
        if before.uri == self.following.uri:
            self.following.downloads = before.downloads
            self._measure_downloads()

    def _remember(self) -> None:
        beside = self._memory.with_suffix(f".{secrets.token_hex(4)}")  # other servers may share the directory
        try:
            with written_whole(self._memory, beside) as file:
                file.write(msgspec.json.encode(self.following))
        except OSError as error:
            log_event("housekeeping_failed", detail=str(error))

    def _measure_downloads(self) -> None:
        if self._followed != "model":
            return
        self._metrics.s3_model_info.clear()
        for download in self.following.downloads:
            self._metrics.s3_model_info.labels(download.sha256[:16], download.key, download.version_id or "").set(1)


def _longest_pause(error: AlsServeError) -> float:
    match error:
        case DownloadCorruptError() | DownloadTooLargeError():
            return _LONGEST_CORRUPT_PAUSE_SECONDS
        case S3NotFoundError():
            return 0.0  # S3 is healthy, and a missing object may appear at any moment
        case _:
            return _LONGEST_PAUSE_SECONDS
