"""One exact version of a model in S3: as it is found, and as it came down."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

#: Is told how many more bytes have come, or gone.
Counted = Callable[[int], object]


class Marker(msgspec.Struct, frozen=True):
    """What was looked at, and the ETag it had: if that is what it still has, nothing changed."""

    key: str
    etag: str


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A version that can be asked for, and no other instead; ``size`` in bytes, ``sha256`` in hex where it is known."""

    key: str
    version_id: str | None = None
    etag: str | None = None
    size: int
    sha256: str | None = None
    modified_at: datetime | None
    marker: Marker


class Download(msgspec.Struct, frozen=True, kw_only=True):
    """What came from S3: ``bytes`` in ``seconds``; ``modified_at`` is when it was published, where that is known.

    ``seconds`` is None where someone else brought it: ``als-serve pull``, or another server on the same volume.
    """

    key: str
    version_id: str | None
    etag: str | None
    sha256: str
    bytes: int
    modified_at: datetime | None
    downloaded_at: datetime
    seconds: float | None

    def is_of(self, found: Found) -> bool:
        """Say whether this very version was downloaded: an ETag is one version's, and a sha256 one content's."""
        return self.key == found.key and self.etag == found.etag
