"""The pin: the one version that a person lets the server have."""

from __future__ import annotations

from service.errors import PinnedError
from service.observe.metrics import Metrics


class Pinned:
    """The pinned ``version``, None while every good model is taken."""

    def __init__(self, metrics: Metrics) -> None:
        self.version: str | None = None
        self._metrics = metrics

    def put(self, version: str | None) -> None:
        """Pin a version, or none, from now on."""
        self.version = version
        self._metrics.model_pinned.set(version is not None)

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
