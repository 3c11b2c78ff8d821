"""One exact version of a model in S3: as found, and as downloaded."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

#: Callback: bytes just transferred.
Counted = Callable[[int], object]


class Marker(msgspec.Struct, frozen=True):
    """An object that was read, and its ETag: if the ETag is the same, nothing changed."""

    key: str
    etag: str


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """An exact version to request; ``size`` in bytes, ``sha256`` in hex if known."""

    key: str
    version_id: str | None = None
    etag: str | None = None
    size: int
    sha256: str | None = None
    modified_at: datetime | None
    marker: Marker


class Download(msgspec.Struct, frozen=True, kw_only=True):
    """A download from S3: ``bytes`` in ``seconds``; ``modified_at`` is when it was published, if known.

    ``seconds`` is null if another process downloaded it: ``als-serve pull``, or a server on the same volume.
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
        """Return whether this is the same version, by ETag, or the same content, by sha256."""
        return self.key == found.key and self.etag == found.etag
