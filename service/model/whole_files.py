"""Model files written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from service.errors import PathTakenError, TrainingError
from service.model.snapshot import sync_directory


@contextmanager
def written_whole(path: Path, *, overwrite: bool = True) -> Iterator[BinaryIO]:
    """Write beside the path, onto the disk, and give it its name then: nobody ever reads a half file.

    Raises TrainingError, and PathTakenError where a file is there that must not be overwritten.
    """
    # Not tempfile: its files are closed to every other user, and the server may well be one.
    beside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            beside.replace(path)
        else:
            path.hardlink_to(beside)  # unlike a rename, refused where anything stands there, even just now
            beside.unlink()  # at once, for it changes what `stat` says of the file, which a server may be reading
        sync_directory(path.parent)
    except FileExistsError:
        raise PathTakenError(f"There is a file at {path}, and it stays.") from None
    except OSError as error:
        raise TrainingError(f"The model cannot be written to {path}: {error.strerror}.") from error
    finally:
        with suppress(OSError):  # on a volume that refused it, there is nothing either
            beside.unlink()
