"""The follower of candidate.json in S3: it downloads the candidate to its path, and says who gets it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from service.errors import S3DeniedError, S3NotFoundError
from service.live.generation import Slot
from service.live.s3_follower import S3Follower
from service.live.steering import Steering
from service.s3.fetching import stands_at
from service.s3.finding import find_candidate
from service.s3.pointer import CandidatePointer

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client

    from service.s3.versions import Found, Marker


class CandidateFollower(S3Follower):
    """Keeps the file at a path equal to the candidate of a prefix; without one, removes the file that it brought."""

    def __init__(self, *arguments: Any, slot: Slot, steering: Steering, **options: Any) -> None:
        """``slot`` has the loaded candidate, ``steering`` hears who gets it; the rest is as of a S3Follower."""
        super().__init__(*arguments, **options)
        self._slot = slot
        self._steering = steering
        self._pointer: CandidatePointer | None = None

    async def _find(self, client: S3Client, known: Marker | None) -> Found | None:
        """Return the candidate if it is another than the known one. Raises S3Error."""
        try:
            read = await find_candidate(client, self._location, known)
        except S3NotFoundError:
            await self._end()
            return None
        except S3DeniedError:
            # So S3 calls a missing object to clients that may not list the bucket.
            if self._pointer or self.following.downloads:
                raise
            return None
        if read:
            self._pointer = read[0]
        assert self._pointer  # what is known was read
        await self._steer(self._pointer)
        return read[1] if read else None

    async def _steer(self, pointer: CandidatePointer) -> None:
        """Say who gets the candidate: at most as many as before, while that is still another model.

        It may have been taken from many users because it is bad, and the next one takes a while to be imported.
        """
        candidate, percent = self._slot.candidate, pointer.percent
        if candidate and candidate.snapshot.manifest.source.sha256 != pointer.sha256:
            percent = min(percent, self._slot.experiment.percent)
        await self._steering.set_by_s3(percent, pointer.shadow)

    async def _end(self) -> None:
        """Remove the candidate's file, unless someone else put it there; S3 says nothing of a percentage any more."""
        self._pointer = self._marker = None  # the same pointer may come again
        await asyncio.to_thread(self._remove_file)
        await self._steering.set_by_s3(None)

    def _remove_file(self) -> None:
        if any(stands_at(self._path, brought.bytes, brought.sha256) for brought in self.following.downloads[:1]):
            self._path.unlink(missing_ok=True)
