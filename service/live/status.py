"""All that handlers read: what is served, and how it came to be served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.live.generation import Slot
from service.live.report import FallbackTraining, Following, Reload


@dataclass(slots=True, eq=False)
class Status:
    """What requests are answered from, and what is told of it.

    In one process these are the very objects that keep the model current; a worker's follow those of the keeper.
    ``reloads`` has the last ten, the latest first. ``following`` tells of S3, where that is followed.
    """

    slot: Slot
    reloads: Sequence[Reload]
    training: FallbackTraining
    following: Following | None = None
