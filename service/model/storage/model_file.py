"""Writing a model file: whole or not at all, with errors that say so."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from service.errors import PathTakenError, TrainingError
from service.files import written_whole


@contextmanager
def written_model(path: Path, *, overwrite: bool = True) -> Iterator[BinaryIO]:
    """Lend a new file that takes the path at the end of the block.

    Raises TrainingError, and PathTakenError where a file is there that must not be overwritten.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with written_whole(path, beside, overwrite=overwrite) as file:
            yield file
    except FileExistsError:
        raise PathTakenError(f"There is a file at {path}, and it stays.") from None
    except OSError as error:
        raise TrainingError(f"The model cannot be written to {path}: {error.strerror}.") from error
