"""Pickles by hand, opcode by opcode: what no library would write."""

from __future__ import annotations

import pickle
import struct

PROTO = b"\x80\x02"
STOP = b"."


def text(value: str) -> bytes:
    """Push a str."""
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def raw(value: bytes) -> bytes:
    """Push bytes."""
    return b"B" + struct.pack("<I", len(value)) + value


def number(value: int) -> bytes:
    """Push an int of any size."""
    return pickle.dumps(value, 2)[2:-1]


def group(*members: bytes) -> bytes:
    """Push a tuple."""
    return b"(" + b"".join(members) + b"t"


def found(module: str, name: str) -> bytes:
    """Push a class or function by GLOBAL."""
    return f"c{module}\n{name}\n".encode()


def stack_found(module: str, name: str) -> bytes:
    """Push a class or function by STACK_GLOBAL, which takes dotted names."""
    return text(module) + text(name) + b"\x93"


def call(function: bytes, *arguments: bytes) -> bytes:
    """Call by REDUCE."""
    return function + group(*arguments) + b"R"


def pairs(content: dict[str, bytes]) -> bytes:
    """Push a dict."""
    return b"}(" + b"".join(text(key) + value for key, value in content.items()) + b"u"


def whole(content: bytes) -> bytes:
    """Make a pickle."""
    return PROTO + content + STOP


DTYPE = found("numpy", "dtype")
ARRAY = call(found("numpy.core.multiarray", "_reconstruct"), found("numpy", "ndarray"), group(number(0)), raw(b"b"))
ALS = found("implicit.cpu.als", "AlternatingLeastSquares")
YES, NO, NONE = b"\x88", b"\x89", b"N"


def dtype(name: str, *state: bytes) -> bytes:
    """Push a dtype, with the usual state of a little-endian number or another."""
    usual = (number(3), text("<"), NONE, NONE, NONE, number(-1), number(-1), number(0))
    return call(DTYPE, text(name), NO, YES) + group(*(state or usual)) + b"b"


def array(of: bytes, shape: bytes, content: bytes, fortran: bytes = NO) -> bytes:
    """Push an array."""
    return ARRAY + group(number(1), shape, of, fortran, content) + b"b"


def model(user_factors: bytes) -> bytes:
    """Make the pickle of a dict with a model and maps, all good but perhaps the user factors."""
    good = array(dtype("f4"), group(number(1), number(2)), raw(bytes(8)))
    attributes = pairs({"user_factors": user_factors, "item_factors": good})
    ids = b"}" + number(0) + number(7) + b"s"
    return whole(pairs({"model": ALS + b")\x81" + attributes + b"b", "user_id_map": ids, "product_id_map": ids}))
