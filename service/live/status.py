"""What handlers read: the served model, and how it came to be served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.live.generation import Slot
from service.live.held import HeldVersions
from service.live.report import FallbackTraining, Following, Reload


@dataclass(slots=True, eq=False)
class Status:
    """What requests are answered from, and its history.

    In one process, the reloader and the others update these objects; in a worker, they follow the keeper's. ``reloads``
    has the last ten, the latest first; ``candidate_reloads`` those of the candidate. ``following`` describes S3, if it
    is followed. ``held`` has earlier versions, for requests that name one.
    """

    slot: Slot
    held: HeldVersions
    reloads: Sequence[Reload]
    training: FallbackTraining
    following: Following | None = None
    candidate_reloads: Sequence[Reload] = ()
