"""What only a limit can end."""

from __future__ import annotations

import io
import struct
import sys
import zipfile

from service.errors import ImportCpuError, ImportCrashedError, ImportMemoryError
from tests.support.hostile.archives import npy
from tests.support.hostile.file import HostileFile
from tests.support.hostile.opcodes import number, whole


def bombs() -> dict[str, HostileFile]:
    """Return files that ask for more memory, time or stack than anyone has; the sentence is the importer's own."""
    huge = struct.pack("<Q", 2**40)
    doubled = b")" + b"".join(b"2\x86" for _ in range(64))
    deep = b")" + b"\x85" * 5_000_000
    memory = {
        "memo at a huge index": whole(b"}r\xff\xff\xff\xff"),
        "BINBYTES8 of a terabyte": b"\x80\x04}\x8e" + huge + b".",
        "BYTEARRAY8 of a terabyte": b"\x80\x05}\x96" + huge + b".",
        "BINUNICODE8 of a terabyte": b"\x80\x04}\x8d" + huge + b".",
        "a frame of a terabyte": b"\x80\x04\x95" + huge + b"}.",
        "npz of zeros": _zeros(),
    }
    return {
        "keys that collide": HostileFile(whole(b"}(" + _colliding(100_000) + b"u"), ImportCpuError, ""),
        **{name: HostileFile(content, ImportMemoryError, "") for name, content in memory.items()},
        "a key of nested tuples": HostileFile(whole(b"}" + doubled + b"Ns"), ImportCpuError, ""),
        "a key nested five million deep": HostileFile(whole(b"}" + deep + b"Ns"), ImportCrashedError, ""),
    }


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
