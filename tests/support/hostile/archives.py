"""Archives that are broken, lie or do not fit."""

from __future__ import annotations

import io
import struct
import zipfile

import numpy as np

from service.errors import (
    BadDtypeError,
    BadIdsError,
    BadShapeError,
    CorruptFileError,
    MissingComponentsError,
    UnknownFormatError,
)
from tests.support.hostile.file import AGAIN, HostileFile


def npy(content: bytes = bytes(16), *, shape: str = "(2, 2)", descr: str = "'<f4'", version: int = 1) -> bytes:
    """Make a member: a header that may lie, and its content."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + content


def npz(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Make an archive."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return packed.getvalue()


def with_factors(**members: bytes) -> bytes:
    """Make an archive of good factors in which some members are replaced or added."""
    good = {"user_factors": npy(), "item_factors": npy()}
    return npz({f"{name}.npy": content for name, content in (good | members).items()})


def _saved(**arrays: object) -> bytes:
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # type: ignore[arg-type]  # objects are the point
    return packed.getvalue()


def archives() -> dict[str, HostileFile]:
    """Return archives that no np.savez writes, and those that do not fit."""
    return {
        name: HostileFile(content, CorruptFileError, sentence)
        for name, (content, sentence) in {
            **_broken_archives(),
            **_lying_archives(),
            **_misnamed_archives(),
        }.items()
    } | _unfit_archives()


def _broken_archives() -> dict[str, tuple[bytes, str]]:
    good = with_factors()
    broken = "The npz archive is damaged or cut short; copy it again, whole."
    around = f"The npz archive has bytes before its beginning or after its end; {AGAIN}"
    method = "user_factors is encrypted or compressed in a way NumPy does not write; use np.savez."
    stored = npz({"user_factors.npy": npy(), "item_factors.npy": npy()}, zipfile.ZIP_STORED)
    encrypted = bytearray(good)
    encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
    return {
        "npz cut in half": (good[: len(good) // 2], broken),
        "npz without its last byte": (good[:-1], broken),
        "npz of two bytes more": (b"PK\x03\x04", broken),
        "npz with a wrong checksum": (stored.replace(npy(), npy(bytes(15) + b"\x01"), 1), broken),
        "npz with a bit flipped": (good.replace(b"PK\x01\x02", b"PK\x01\x03", 1), broken),
        "npz with a longer member than listed": (_relisted(-4), broken),
        "npz with a directory before its beginning": (
            good[:-6] + struct.pack("<I", 2**31) + good[-2:],
            broken,
        ),
        "npz with bytes after its end": (good + b"more", around),
        "npz with a comment": (good[:-2] + b"\x04\x00more", around),
        "npz behind another": (good + good, around),
        "npz encrypted": (bytes(encrypted), method),
        "npz compressed with bzip2": (npz({"user_factors.npy": npy()}, zipfile.ZIP_BZIP2), method),
        "npz with no header": (with_factors(user_factors=b"hello, world"), broken),
        "npz with a header of code": (with_factors(user_factors=npy(shape="__import__('os')")), broken),
        "npz with a nested header": (with_factors(user_factors=npy(shape="(" * 300 + ")" * 300)), broken),
        "npz with an endless header": (with_factors(user_factors=npy(shape=" " * 50000)), broken),
        "npz of version 3": (
            with_factors(user_factors=npy(version=3)),
            "user_factors uses a version of npy that np.savez does not write for numbers or text.",
        ),
    }


def _lying_archives() -> dict[str, tuple[bytes, str]]:
    impossible = f"user_factors has an impossible shape; {AGAIN}"

    def disagrees(shape: str, needed: int, kind: str = "float32") -> str:
        return f"user_factors declares the shape {shape} of {kind}, which takes {needed} bytes, but has 16; {AGAIN}"

    return {
        "npz with a header that promises gigabytes": (
            with_factors(user_factors=npy(shape="(4294967296, 4)")),
            disagrees("(4294967296, 4)", 2**36),
        ),
        "npz with a header that promises less": (
            with_factors(user_factors=npy(shape="(1, 2)")),
            disagrees("(1, 2)", 8),
        ),
        "npz with a bomb that is none": (
            _relisted(2**31, npy(shape="(536870916,)")),
            f"user_factors ends after 16 of {2**31 + 16} bytes; {AGAIN}",
        ),
        "npz with a negative size": (with_factors(user_factors=npy(shape="(-2, -2)")), impossible),
        "npz with a size beyond any": (
            with_factors(user_factors=npy(shape=f"({2**60}, 1)")),
            impossible,
        ),
        "npz with elements of no bytes": (
            with_factors(user_factors=npy(b"", shape="(4,)", descr="'<U0'")),
            impossible,
        ),
        "npz with text that is not Unicode": (
            with_factors(user_ids=npy(b"\xff" * 8, shape="(2,)", descr="'<U1'")),
            f"user_ids has text that is not valid Unicode; {AGAIN}",
        ),
    }


def _misnamed_archives() -> dict[str, tuple[bytes, str]]:
    known = (
        "which a model does not need and which could be a mistake for one of user_factors, item_factors, user_ids, "
        "item_ids, seen_indptr, seen_indices, seen_weights, item_weights, regularization, alpha, activity_discount, "
        "training_facts, popularity_only; leave it out."
    )
    twice = with_factors(user_factorz=npy()).replace(b"user_factorz", b"user_factors")
    return {
        "npz with an array that is nearly known": (
            with_factors(user_id=npy()),
            f"The npz archive has user_id, {known}",
        ),
        "npz with a pickle": (
            npz({"user_factors.npy": npy(), "data.pkl": b"."}),
            f"The npz archive has data.pkl, {known}",
        ),
        "npz with a path": (
            npz({"../../user_factors.npy": npy()}),
            f"The npz archive has ../../user_factors, {known}",
        ),
        "npz with a name beside itself": (
            npz({"user_factors.npy": npy(), "item_factors.npy": npy(), "user_factors": npy()}),
            f"The npz archive has user_factors more than once; {AGAIN}",
        ),
        "npz with one name twice": (twice, f"The npz archive has user_factors more than once; {AGAIN}"),
    }


def _relisted(more: int, member: bytes | None = None) -> bytes:
    """Let both headers of the first member promise ``more`` bytes than it holds."""
    member = member or npy()
    packed = npz({"user_factors.npy": member, "item_factors.npy": npy()})
    listed, lie = struct.pack("<I", len(member)), struct.pack("<I", len(member) + more)
    local, central = packed.index(b"PK\x03\x04"), packed.index(b"PK\x01\x02")
    changed = bytearray(packed)
    for place in (local + 22, central + 24):
        assert changed[place : place + 4] == listed
        changed[place : place + 4] = lie
    return bytes(changed)


def _unfit_archives() -> dict[str, HostileFile]:
    factors = np.zeros((2, 2), np.float32)
    only = "only floats of 2, 4 or 8 bytes, integers, booleans and text are read."

    def element(name: str, descr: str) -> HostileFile:
        file = with_factors(user_factors=npy(descr=descr))
        return HostileFile(file, BadDtypeError, f"user_factors has elements of type {name}; {only}")

    return {
        "npz of something else": HostileFile(
            npz({"archive/data.pkl": b".", "archive/version": b"3"}),
            UnknownFormatError,
            "The file is a zip archive with archive/data.pkl, not an npz; save arrays with np.savez.",
        ),
        "npz of objects": HostileFile(
            _saved(user_factors=np.array([{}, None]), item_factors=factors),
            BadDtypeError,
            "user_factors is an array of Python objects; convert it to an array of numbers or text.",
        ),
        "npz of records": element("|V8", "[('a', '<f4'), ('b', '<f4')]"),
        "npz of subarrays": element("|V8", "('<f4', (2,))"),
        "npz of dates": element("<M8[ns]", "'<M8[ns]'"),
        "npz of complex numbers": element("<c8", "'<c8'"),
        "npz without item factors": HostileFile(
            _saved(user_factors=factors),
            MissingComponentsError,
            "Model file is missing required components: ['item_factors']; the archive has user_factors",
        ),
        "npz with weights alone": HostileFile(
            _saved(user_factors=factors, item_factors=factors, seen_weights=factors[0]),
            MissingComponentsError,
            "Model file is missing required components: ['seen_indptr', 'seen_indices']; the archive has user_factors, "
            "item_factors, seen_weights",
        ),
        "npz of nothing": HostileFile(
            npz({}),
            MissingComponentsError,
            "Model file is missing required components: ['user_factors', 'item_factors']; the archive has nothing",
        ),
        "npz with many alphas": HostileFile(
            _saved(user_factors=factors, item_factors=factors, alpha=factors),
            BadShapeError,
            "alpha has the shape (2, 2); it must be a single value.",
        ),
        "npz with ids of no UTF-8": HostileFile(
            _saved(user_factors=factors, item_factors=factors, user_ids=np.array([b"a", b"\xff"])),
            BadIdsError,
            "user_ids has bytes that are not UTF-8 text in row 1.",
        ),
    }
