"""What an administrator can ask of a running server, and what each command is answered with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeAlias

import msgspec

from service.model.storage.source import Version


class Show(msgspec.Struct, frozen=True, tag="versions"):
    """Show the versions, and change nothing."""


class Look(msgspec.Struct, frozen=True, tag="reload"):
    """Look at the model path, the candidate's path and S3 now; also at a file that was refused."""


class Pin(msgspec.Struct, frozen=True, tag="pin"):
    """Serve this version, and take no other one until it is unpinned."""

    model_version: str


class Unpin(msgspec.Struct, frozen=True, tag="unpin"):
    """Take new models again."""


class RollBack(msgspec.Struct, frozen=True, tag="rollback"):
    """Serve this version, or the one before the newest, and quarantine the one that is served."""

    model_version: str | None = None


class Accept(msgspec.Struct, frozen=True, tag="accept"):
    """Let a version in although a gate blocks it or it is quarantined."""

    model_version: str


class Steer(msgspec.Struct, frozen=True, tag="candidate"):
    """Give the candidate to this percentage of users, from 0 to 100; None leaves that to the settings."""

    percent: float | None


Command: TypeAlias = Show | Look | Pin | Unpin | RollBack | Accept | Steer


class KeptVersion(msgspec.Struct, frozen=True):
    """A version on the shelf.

    ``served``: whether it answers requests now. ``was_served``: whether it did at some time; only such a version can be
    pinned and returned to. ``last_used_at``: when it was put into service last, or imported if it never was.
    """

    model_version: Version
    served: bool
    was_served: bool
    pinned: bool
    accepted: bool
    quarantined: bool
    last_used_at: datetime


class KeptVersions(msgspec.Struct, frozen=True):
    """The served version, the pinned one and the candidate, and the versions on the shelf, last used first.

    Each is null if there is none. ``candidate_percent`` of users get the candidate, as S3 says, else an administrator,
    else the settings.
    """

    served: Version | None
    pinned: Version | None
    candidate: Version | None
    candidate_percent: float
    versions: list[KeptVersion]


#: Carries out a command, and returns the versions after it. Raises any AlsServeError.
Administer: TypeAlias = Callable[[Command], Awaitable[KeptVersions]]
