"""Arrays on disk as .npy files: written and synced, mapped, brought into memory, verified."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from service.errors import SnapshotDamagedError
from service.files import synced

ManifestT = TypeVar("ManifestT", bound=msgspec.Struct)

_PAGE = 4096
#: Bytes; a manifest has less than 100 kB, most of them facts about the training.
_LARGEST_MANIFEST = 2**20
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class FileFacts(msgspec.Struct, frozen=True):
    """The expected size in bytes and sha256 (hex) of a file."""

    bytes: int
    sha256: str


def read_manifest(path: Path, decoder: msgspec.json.Decoder[ManifestT]) -> ManifestT:
    """Read a manifest. Raises SnapshotDamagedError, whatever is wrong with it, and OSError for a disk that fails."""
    if not path.is_file():
        raise damaged(path, "is missing")
    try:
        with path.open("rb") as file:
            return decoder.decode(file.read(_LARGEST_MANIFEST))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise damaged(path, f"cannot be read ({type(error).__name__})") from None


def write_array(directory: Path, name: str, array: NDArray[Any]) -> FileFacts:
    """Write one array and sync it to disk. Raises OSError."""
    path = directory / name
    with synced(path) as file:
        np.save(file, array, allow_pickle=False)
    return FileFacts(path.stat().st_size, sha256_of(path))


def map_array(path: Path, facts: FileFacts) -> NDArray[Any]:
    """Map one file into memory, read-only; its size is checked. Raises SnapshotDamagedError, OSError."""
    if not path.is_file():
        raise damaged(path, "is missing")
    size = path.stat().st_size
    if size != facts.bytes:
        raise damaged(path, f"has {size} bytes instead of {facts.bytes}")
    try:
        mapped: np.memmap[Any, np.dtype[Any]] = open_memmap(path, mode="r")
    except OSError:  # not damage
        raise
    except Exception as error:  # a damaged header raises any error of Python's parser
        raise damaged(path, f"has a damaged header ({error})") from None
    if mapped.offset + mapped.nbytes != size:
        raise damaged(path, f"has a damaged header (it says {mapped.shape})")
    # A plain view of the map, because np.memmap's bookkeeping costs a microsecond per slice.
    return np.asarray(mapped).view(np.ndarray)


def touch(array: NDArray[Any]) -> None:
    """Read a byte of every page, so that no request waits for the disk; runs without the interpreter lock."""
    np.bitwise_or.reduce(array.reshape(-1).view(np.uint8)[::_PAGE])


def release(array: NDArray[Any]) -> None:
    """Take the pages of a mapped array out of this process, so that unmapping it later takes no time.

    Python unmaps with the interpreter lock held; this runs without it. The array can still be read.
    """
    if not _is_mapped(array):  # memory that is not a file's would be lost
        return
    before = array.ctypes.data % mmap.PAGESIZE
    _libc.madvise(array.ctypes.data - before, before + array.nbytes, mmap.MADV_DONTNEED)


def _is_mapped(array: NDArray[Any]) -> bool:
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, mmap.mmap)


def resident(array: NDArray[Any]) -> int:
    """Return the bytes of a contiguous array whose pages are in memory. Raises OSError.

    Runs without the interpreter lock.
    """
    if not array.nbytes:
        return 0
    before = array.ctypes.data % mmap.PAGESIZE
    pages = np.empty(-(-(before + array.nbytes) // mmap.PAGESIZE), np.uint8)
    if _libc.mincore(array.ctypes.data - before, before + array.nbytes, pages.ctypes.data):
        raise OSError(ctypes.get_errno(), "mincore failed")  # pragma: no cover - an array's own memory is mapped
    return min(array.nbytes, int(np.count_nonzero(pages & 1)) * mmap.PAGESIZE)


def damaged(path: Path, what: str) -> SnapshotDamagedError:
    """Describe what is wrong with a file or directory that this program wrote."""
    return SnapshotDamagedError(f"{path} {what}; delete the directory.")


def sha256_of(path: Path) -> str:
    """Return the sha256 (hex) of a file. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
