"""The arms of an experiment: which users get the candidate instead of the served model."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, Literal, TypeAlias

import msgspec

from service.model.factors import Id

Arm: TypeAlias = Literal["served", "candidate"]
ARMS: Final[tuple[Arm, ...]] = ("served", "candidate")
#: How answers are counted: of their arm, or because a request named an earlier version, which says nothing of the arms.
Counted: TypeAlias = Literal["served", "candidate", "named"]

#: The number of different hashes.
_HASHES = 2**64


class Experiment(msgspec.Struct, frozen=True):
    """Who gets the candidate: ``percent`` of users, from 0 to 100.

    name: 1 to 64 ASCII characters; under another name, other users do. shadow: the share of requests, from 0 to 1, that
    the candidate also answers in the background, for comparison only.
    """

    name: str = "default"
    percent: float = 0.0
    shadow: float = 0.0

    def arm_of(self, user: Id) -> Arm:
        """Return a user's arm: by a hash of the id as text, so that it is the same in every process.

        The number 7 and the text "7" are the same user here. Who has the candidate at some percentage keeps it at any
        greater one.
        """
        text = str(user).encode(errors="surrogatepass")  # an id that is not UTF-8 is refused later
        hashed = int.from_bytes(blake2b(text, digest_size=8, key=self.name.encode()).digest(), "big")
        return "candidate" if hashed < self.percent / 100 * _HASHES else "served"
