"""Pickles that end wrongly, and files that are not models."""

from __future__ import annotations

from service.errors import CorruptFileError, MissingComponentsError, UnknownFormatError, UnreadableSourceError
from tests.support.hostile.file import DAMAGED, HostileFile
from tests.support.hostile.opcodes import NONE, STOP, array, call, dtype, found, group, model, number, raw, text, whole


def streams() -> dict[str, HostileFile]:
    """Return pickles that are cut, damaged, followed by something or of another content."""
    good = model(array(dtype("f4"), group(number(1), number(2)), raw(bytes(8))))
    size = len(good)

    def cut(end: int) -> HostileFile:
        sentence = f"The pickle is cut short: the file ends after {end} bytes; copy it again, whole."
        return HostileFile(good[:end], CorruptFileError, sentence)

    def followed(rest: bytes) -> HostileFile:
        return HostileFile(
            good + rest,
            CorruptFileError,
            f"The pickle ends at byte {size}, but {len(rest)} more follow; the file must hold one pickled dict and "
            "nothing else.",
        )

    damaged = {
        "stop on nothing": b"\x80\x02.",
        "a memo that was never put": whole(b"h\x07"),
        "a mark that was never set": whole(b"t"),
        "an opcode that is none": whole(b"\xff"),
        "a protocol of the future": b"\x80\x06N.",
        "a number of too many digits": b"(dI" + b"7" * 5000 + b"\n.",
        "text that is not UTF-8": whole(b"X\x02\x00\x00\x00\xff\xff"),
        "an out-of-band buffer": b"\x80\x05\x97.",
        "a list as a key": whole(b"}]Ns"),
        "an int as a list": whole(number(1) + NONE + b"a"),
    }
    return {
        **{f"cut at {end}": cut(end) for end in (2, 3, size // 3, size // 2, size - 1)},
        "one byte follows": followed(b"\n"),
        "a second pickle": followed(good),
        "a payload behind the end": followed(call(found("os", "system"), text("true")) + STOP),
        **{name: HostileFile(content, CorruptFileError, DAMAGED) for name, content in damaged.items()},
        "a list": HostileFile(
            whole(b"]"),
            UnknownFormatError,
            "The pickle is a list; save a dict with the keys 'model', 'user_id_map' and 'product_id_map'.",
        ),
        "an empty dict": HostileFile(
            whole(b"}"),
            MissingComponentsError,
            "Model file is missing required components: ['model', 'user_id_map', 'product_id_map']",
        ),
    }


def not_models() -> dict[str, HostileFile]:
    """Return files of every other kind that ends up at a model path."""
    instead = "that was downloaded instead of the model"
    compressed = "is compressed with {}: decompress it first"
    together = "save the factors with np.savez"
    denied = b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'
    files = {
        "HTML": (b"<!DOCTYPE html>\n<html>502", f"looks like an HTML page, perhaps an error page {instead}"),
        "HTML without a type": (b"\n <HTML><body>", f"looks like an HTML page, perhaps an error page {instead}"),
        "S3 error": (denied, f"is an S3 error response (AccessDenied) {instead}"),
        "an error of an unknown code": (
            b"<Error><Code>hunter2</Code></Error>",
            f"looks like XML, perhaps an error response {instead}",
        ),
        "XML": (b"\xef\xbb\xbf<?xml version='1.0'?><a/>", f"looks like XML, perhaps an error response {instead}"),
        "JSON": (b'{"error": "not found"}', f"looks like JSON, perhaps an error response {instead}"),
        "JSON list": (b"[1, 2]", f"looks like JSON, perhaps an error response {instead}"),
        "gzip": (b"\x1f\x8b\x08\x00abc", compressed.format("gzip")),
        "zstd": (b"\x28\xb5\x2f\xfdabc", compressed.format("zstd")),
        "bzip2": (b"BZh9abc", compressed.format("bzip2")),
        "xz": (b"\xfd7zXZ\x00abc", compressed.format("xz")),
        "lz4": (b"\x04\x22\x4d\x18abc", compressed.format("lz4")),
        "compressed by joblib": (
            b"\x78\x9cabc",
            "is compressed by joblib: write it with pickle.dump instead",
        ),
        "npy": (
            b"\x93NUMPY\x01\x00",
            "is a single NumPy array: save user_factors and item_factors together with np.savez",
        ),
        "Parquet": (b"PAR1abc", f"is a Parquet file: {together}"),
        "HDF5": (b"\x89HDF\r\n\x1a\n", f"is an HDF5 file: {together}"),
        "Git LFS": (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "is a Git LFS pointer, not the model: fetch the file with git lfs pull",
        ),
        "text": ("user,ítem\n1,2\n".encode(), "is text and not a model"),
        "text of an old encoding": (b"caf\xe9 au lait", "is text and not a model"),
        "zeros": (bytes(100), "has an unknown format"),
        "one byte of a pickle": (b"\x80", "is text and not a model"),
    }
    wanted = "a model is a pickled dict or an npz archive"
    return {
        name: HostileFile(content, UnknownFormatError, f"The file {what}; {wanted}.")
        for name, (content, what) in files.items()
    } | {"empty": HostileFile(b"", UnreadableSourceError, "{path} is empty (0 bytes).")}
