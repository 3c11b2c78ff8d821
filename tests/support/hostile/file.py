"""What a hostile file is."""

from __future__ import annotations

from dataclasses import dataclass

from service.errors import ModelRejectedError

#: How many sentences end, and the one for whatever no library writes.
AGAIN = "save the model again."
DAMAGED = "The pickle is damaged: pickle.dump never writes a file like this; save the model again."


@dataclass(frozen=True, slots=True)
class HostileFile:
    """A file's content, and how reading or proving it must end."""

    content: bytes
    error: type[ModelRejectedError]
    sentence: str
