"""The pin: the one version that a person lets the server have."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from service.errors import OutOfResourcesError, PinnedError, StateDirectoryError
from service.model.storage.shelf import Shelf
from service.observe.logs import log_event
from service.observe.metrics import Metrics


class Pinned:
    """The pinned ``version``, None while every good model is taken; the shelf remembers it for the next start."""

    def __init__(self, metrics: Metrics, shelf: Shelf) -> None:
        self.version: str | None = None
        self._metrics = metrics
        self._shelf = shelf

    async def put(self, version: str | None) -> None:
        """Pin a version, or none, from now on.

        Raises StateDirectoryError, OutOfResourcesError, and changes nothing then.
        """
        await asyncio.to_thread(self._shelf.pin, version)
        self.keep(version)

    def keep(self, version: str | None) -> None:
        """Go on with the version that the shelf remembers."""
        self.version = version
        self._metrics.model_pinned.set(version is not None)

    async def lose(self, version: str) -> None:
        """Pin nothing any more, because this version is lost: a newer model is better than none."""
        log_event("pin_lost", model_version=version)
        self.keep(None)
        with suppress(StateDirectoryError, OutOfResourcesError):  # then it is lost again at the next start
            await asyncio.to_thread(self._shelf.pin, None)

    def refuse_other(self, version: str) -> None:
        """Raise PinnedError if another version than this one is pinned."""
        if self.version not in (None, version):
            raise self.refusal_of(version)

    def refusal_of(self, version: str | None) -> PinnedError:
        """Return why a version is not served."""
        return PinnedError(
            f"Model {version} is not taken, because an administrator has pinned {self.version}; als-serve admin unpin "
            "takes new models again."
        )
