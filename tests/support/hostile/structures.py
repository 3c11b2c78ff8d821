"""Pickles whose classes, dtypes, arrays and calls are twisted."""

from __future__ import annotations

from service.errors import BadDtypeError, BadShapeError, CorruptFileError, UnsafePickleError
from service.untrusted import escaped
from tests.support.hostile.file import AGAIN, DAMAGED, HostileFile
from tests.support.hostile.opcodes import (
    ALS,
    ARRAY,
    DTYPE,
    NO,
    NONE,
    YES,
    array,
    call,
    dtype,
    found,
    group,
    model,
    number,
    pairs,
    raw,
    text,
    whole,
)


def changes() -> dict[str, HostileFile]:
    """Return pickles that change the stand-ins or misuse them."""
    attributes = pairs({"recommend": NONE})
    twice = ALS + b")\x81" + attributes + b"b" + attributes + b"b"
    slots = b"N" + attributes + b"\x86"

    def refused(content: bytes, what: str) -> HostileFile:
        sentence = f"The pickle changes {what}, which no model does; nothing was executed."
        return HostileFile(whole(content), UnsafePickleError, sentence)

    return {
        "BUILD on a class": refused(ALS + attributes + b"b", "the class AlternatingLeastSquares"),
        "BUILD of slots on a class": refused(ALS + slots + b"b", "the class AlternatingLeastSquares"),
        "BUILD on a matrix class": refused(
            found("scipy.sparse._csr", "csr_matrix") + attributes + b"b", "the class CsrMatrix"
        ),
        "BUILD on a function": refused(DTYPE + attributes + b"b", "numpy.dtype"),
        "BUILD of slots on a function": refused(DTYPE + slots + b"b", "numpy.dtype"),
        "BUILD on a type": refused(found("numpy", "ndarray") + attributes + b"b", "numpy.ndarray"),
        "BUILD of slots on a model": refused(
            ALS + b")\x81" + slots + b"b", "an object of the class AlternatingLeastSquares"
        ),
        "BUILD twice": refused(twice, "an object of the class AlternatingLeastSquares"),
        "BUILD twice on an array": refused(
            array(dtype("f4"), group(number(2)), raw(bytes(8)))
            + group(number(1), group(number(1)), dtype("f4"), NO, raw(bytes(4)))
            + b"b",
            "an object of the class Array",
        ),
        "BUILD of a dict on an array": refused(ARRAY + attributes + b"b", "an object of the class Array"),
        "BUILD on a dict": HostileFile(whole(b"}" + attributes + b"b"), CorruptFileError, DAMAGED),
        "a class as a key": HostileFile(whole(b"}" + DTYPE + NONE + b"s"), CorruptFileError, DAMAGED),
        "an item of a class": HostileFile(whole(ALS + NONE + NONE + b"s"), CorruptFileError, DAMAGED),
        "an entry of an array": HostileFile(whole(ARRAY + NONE + b"a"), CorruptFileError, DAMAGED),
        "NEWOBJ with arguments": HostileFile(whole(ALS + group(number(1)) + b"\x81"), CorruptFileError, DAMAGED),
        "NEWOBJ_EX": HostileFile(
            whole(ALS + b")" + pairs({"factors": number(1)}) + b"\x92"), CorruptFileError, DAMAGED
        ),
        "NEWOBJ of a function": HostileFile(whole(DTYPE + b")\x81"), CorruptFileError, DAMAGED),
        "call of a number": HostileFile(whole(call(number(1))), CorruptFileError, DAMAGED),
    }


def dtypes() -> dict[str, HostileFile]:
    """Return dtypes of which NumPy itself would believe everything."""
    state = "The pickle gives a dtype fields, a subarray, metadata or another unsupported state; save plain arrays."
    three, small, none = number(3), text("<"), NONE
    minus, zero = number(-1), number(0)
    field = pairs({"a": group(dtype("f4"), number(10**6))})
    states = {
        "fields": (three, small, none, group(text("a")), field, number(4), number(4), zero),
        "a subarray": (three, small, group(dtype("f4"), group(number(9))), none, none, minus, minus, zero),
        "metadata": (number(4), small, none, none, none, minus, minus, zero, b"}"),
        "hidden objects": (three, text("|"), none, none, none, minus, minus, number(63)),
        "another item size": (three, small, none, none, none, number(4096), minus, zero),
        "another byte order": (three, text("x"), none, none, none, minus, minus, zero),
        "no state": (three,),
    }
    names = ["V8", "f4,f4", "(2,)f4", "U99999999", "U-1", "O8x", "f4\n"]
    return {
        f"dtype with {what}": HostileFile(whole(dtype("f4", *parts)), UnsafePickleError, state)
        for what, parts in states.items()
    } | {
        f"dtype {name!r}": HostileFile(
            whole(dtype(name)),
            BadDtypeError,
            f"The pickle has elements of type {escaped(name)}; only floats of 2, 4 or 8 bytes, "
            "integers, booleans and text are read.",
        )
        for name in names
    }


def arrays() -> dict[str, HostileFile]:
    """Return arrays whose parts do not agree."""
    f4, eight = dtype("f4"), raw(bytes(8))
    u1 = dtype("U1", number(3), text("<"), NONE, NONE, NONE, number(4), number(4), number(8))
    u0 = dtype("U0", number(3), text("<"), NONE, NONE, NONE, number(0), number(4), number(8))
    name = "model.user_factors"
    impossible = f"{name} has an impossible shape; {AGAIN}"

    def corrupt(factors: bytes, sentence: str) -> HostileFile:
        return HostileFile(model(factors), CorruptFileError, sentence)

    def shaped(*sizes: bytes) -> bytes:
        return array(f4, group(*sizes), eight)

    def disagrees(shape: str, needed: int) -> str:
        return f"{name} declares the shape {shape} of float32, which takes {needed} bytes, but has 8; {AGAIN}"

    return {
        "more shape than bytes": corrupt(shaped(number(3), number(2)), disagrees("(3, 2)", 24)),
        "less shape than bytes": corrupt(shaped(number(1)), disagrees("(1,)", 4)),
        "shape without end": corrupt(shaped(number(2**40)), disagrees("(1099511627776,)", 2**42)),
        "shape that overflows": corrupt(shaped(*[number(2**32)] * 2), impossible),
        "size beyond any": corrupt(shaped(number(2**20000)), impossible),
        "huge beside nothing": corrupt(array(f4, group(number(0), *[number(2**48)] * 2), raw(b"")), impossible),
        "negative size": corrupt(shaped(number(-2), number(-1)), impossible),
        "boolean size": corrupt(shaped(YES, number(2)), impossible),
        "text size": corrupt(shaped(text("2")), impossible),
        "too many dimensions": corrupt(shaped(*[number(1)] * 33), impossible),
        "elements of no bytes": corrupt(array(u0, group(number(10**9)), raw(b"")), impossible),
        "array without contents": corrupt(ARRAY, f"{name} is an array without contents; {AGAIN}"),
        "array of a list": corrupt(array(f4, group(number(1)), b"]"), f"{name} is an array without bytes; {AGAIN}"),
        "no Unicode": corrupt(
            array(u1, group(number(1)), raw(b"\xff\xff\xff\xff")),
            f"{name} has text that is not valid Unicode; {AGAIN}",
        ),
    }


def factors() -> dict[str, HostileFile]:
    """Return models whose factors are readable and cannot be factors."""
    name = "model.user_factors"
    objects = dtype("O8", number(3), text("|"), NONE, NONE, NONE, number(-1), number(-1), number(63))
    u1 = dtype("U1", number(3), text("<"), NONE, NONE, NONE, number(4), number(4), number(8))
    return {
        "objects as factors": HostileFile(
            model(array(objects, group(number(1)), b"]" + number(1) + b"a")),
            BadDtypeError,
            f"{name} is an array of Python objects; convert it to an array of numbers.",
        ),
        "factors of text": HostileFile(
            model(array(u1, group(number(1), number(2)), raw(bytes(8)))),
            BadDtypeError,
            f"{name} has the type <U1 instead of float32 or float64.",
        ),
        "factors of one dimension": HostileFile(
            model(array(dtype("f4"), group(number(2)), raw(bytes(8)))),
            BadShapeError,
            f"{name} has 1 dimension(s) instead of 2 (rows x factors).",
        ),
    }


def calls() -> dict[str, HostileFile]:
    """Return calls of known functions with arguments that would hurt."""
    reconstruct = found("numpy.core.multiarray", "_reconstruct")
    scalar = found("numpy.core.multiarray", "scalar")
    bare = found("copyreg", "_reconstructor")
    encode = found("_codecs", "encode")
    billion = number(10**9)
    builtin = "builtins"

    def odd(name: str, function: bytes, *arguments: bytes) -> HostileFile:
        sentence = f"The pickle calls {name} with arguments that no library writes; {AGAIN}"
        return HostileFile(whole(call(function, *arguments)), CorruptFileError, sentence)

    f4 = dtype("f4")
    return {
        "_reconstruct of gigabytes": odd(
            "numpy's _reconstruct", reconstruct, found("numpy", "ndarray"), group(billion), raw(b"b")
        ),
        "_reconstruct of another class": odd("numpy's _reconstruct", reconstruct, ALS, group(number(0)), raw(b"b")),
        "scalar of more bytes": odd("numpy's scalar", scalar, f4, raw(bytes(8))),
        "scalar without bytes": odd("numpy's scalar", scalar, f4),
        "scalar of no Unicode": odd(
            "numpy's scalar",
            scalar,
            dtype("U1", number(3), text("<"), NONE, NONE, NONE, number(4), number(4), number(8)),
            raw(b"\xff\xff\xff\xff"),
        ),
        "_frombuffer of a list": odd(
            "numpy's _frombuffer",
            found("numpy._core.numeric", "_frombuffer"),
            b"]",
            f4,
            group(number(1)),
            text("C"),
        ),
        "a dtype of a dtype": odd("numpy.dtype", DTYPE, f4, NO, YES),
        "ndarray called": HostileFile(
            whole(call(found("numpy", "ndarray"), group(billion))), CorruptFileError, DAMAGED
        ),
        "bytes of gigabytes": odd("bytes", found(builtin, "bytes"), billion),
        "bytearray of gigabytes": odd("bytearray", found(builtin, "bytearray"), billion),
        "set of a text": odd("set", found(builtin, "set"), text("abc")),
        "frozenset of a number": odd("frozenset", found(builtin, "frozenset"), billion),
        "ordered dict of pairs": odd("collections.OrderedDict", found("collections", "OrderedDict"), b"]"),
        "default dict of a list": odd("collections.defaultdict", found("collections", "defaultdict"), b"]"),
        "another codec": odd("_codecs.encode", encode, text("x"), text("zlib_codec")),
        "text beyond latin1": odd("_codecs.encode", encode, text("ł"), text("latin1")),
        "_reconstructor of a dict": odd("copyreg._reconstructor", bare, ALS, b"}", NONE),
        "_reconstructor with a state": odd("copyreg._reconstructor", bare, ALS, found(builtin, "object"), b"}"),
        "_reconstructor of a function": odd("copyreg._reconstructor", bare, DTYPE, found(builtin, "object"), NONE),
    }
