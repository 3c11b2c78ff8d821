"""What only a limit can end."""

from __future__ import annotations

import functools
import io
import struct
import sys
import zipfile
from collections.abc import Callable

from service.errors import ImportCpuError, ImportCrashedError, ImportMemoryError, ModelRejectedError
from tests.support.hostile.archives import npy
from tests.support.hostile.file import HostileFile
from tests.support.hostile.opcodes import number, whole


@functools.cache
def bomb(name: str) -> HostileFile:
    """Return the file of this name, which may take seconds to make; the sentence is the importer's own."""
    make, error = _MAKERS[name]
    return HostileFile(make(), error, "")


def _colliding(count: int) -> bytes:
    """Push numbers whose hash is 0, which makes a dict compare each with all before it."""
    return b"".join(number(factor * sys.hash_info.modulus) + b"N" for factor in range(1, count))


def _zeros() -> bytes:
    """Make an honest archive of 768 MB of zeros, which takes less than 4 MB."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("user_factors.npy", "w") as member:
            member.write(npy(b"", shape="(100663296, 2)"))
            for _ in range(768):
                member.write(bytes(2**20))
        archive.writestr("item_factors.npy", npy())
    return packed.getvalue()


_HUGE = struct.pack("<Q", 2**40)
_MAKERS: dict[str, tuple[Callable[[], bytes], type[ModelRejectedError]]] = {
    "keys that collide": (lambda: whole(b"}(" + _colliding(100_000) + b"u"), ImportCpuError),
    "memo at a huge index": (lambda: whole(b"}r\xff\xff\xff\xff"), ImportMemoryError),
    "BINBYTES8 of a terabyte": (lambda: b"\x80\x04}\x8e" + _HUGE + b".", ImportMemoryError),
    "BYTEARRAY8 of a terabyte": (lambda: b"\x80\x05}\x96" + _HUGE + b".", ImportMemoryError),
    "BINUNICODE8 of a terabyte": (lambda: b"\x80\x04}\x8d" + _HUGE + b".", ImportMemoryError),
    "a frame of a terabyte": (lambda: b"\x80\x04\x95" + _HUGE + b"}.", ImportMemoryError),
    "npz of zeros": (_zeros, ImportMemoryError),
    "a key of nested tuples": (lambda: whole(b"})" + b"2\x86" * 64 + b"Ns"), ImportCpuError),
    "a key nested five million deep": (lambda: whole(b"})" + b"\x85" * 5_000_000 + b"Ns"), ImportCrashedError),
}
#: The names of files that ask for more memory, time or stack than anyone has.
BOMBS = tuple(_MAKERS)
