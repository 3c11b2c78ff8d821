"""Files mistaken for models: compressed files, other formats, downloaded error responses."""

from __future__ import annotations

import codecs
import re

_COMPRESSED = "is compressed with {}: decompress it first"
_OTHERS = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), what)
    for pattern, what in (
        (rb"\x1f\x8b", _COMPRESSED.format("gzip")),
        (rb"\x28\xb5\x2f\xfd", _COMPRESSED.format("zstd")),
        (rb"BZh[1-9]", _COMPRESSED.format("bzip2")),
        (rb"\xfd7zXZ\x00", _COMPRESSED.format("xz")),
        (rb"\x04\x22\x4d\x18", _COMPRESSED.format("lz4")),
        (rb"\x78[\x01\x5e\x9c\xda]|ZF0x", "is compressed by joblib: write it with pickle.dump instead"),
        (rb"\x93NUMPY", "is a single NumPy array: save user_factors and item_factors together with np.savez"),
        (rb"PAR1", "is a Parquet file: save the factors with np.savez"),
        (rb"\x89HDF", "is an HDF5 file: save the factors with np.savez"),
        (rb"version https://git-lfs", "is a Git LFS pointer, not the model: fetch the file with git lfs pull"),
        (
            rb"\s*<(!doctype html|html|head|body)\b",
            "looks like an HTML page, perhaps an error page that was downloaded instead of the model",
        ),
        (
            # Only codes that are known, because a message must not quote a file that is not a model.
            rb"\s*<.{0,500}<Code>(?P<code>AccessDenied|AllAccessDisabled|ExpiredToken|InternalError|InvalidAccessKeyId"
            rb"|InvalidObjectState|NoSuchBucket|NoSuchKey|NoSuchVersion|PermanentRedirect|RequestTimeTooSkewed"
            rb"|ServiceUnavailable|SignatureDoesNotMatch|SlowDown|TemporaryRedirect)</Code>",
            "is an S3 error response ({code}) that was downloaded instead of the model",
        ),
        (rb"\s*<", "looks like XML, perhaps an error response that was downloaded instead of the model"),
        (
            rb'\s*(\{\s*["}]|\[\s*[\[{"\d\]])',
            "looks like JSON, perhaps an error response that was downloaded instead of the model",
        ),
    )
)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def foreign(head: bytes) -> str | None:
    """Describe a file that is known not to be a model by its first bytes, and what to do about it."""
    for pattern, what in _OTHERS:
        found = pattern.match(head.removeprefix(codecs.BOM_UTF8))
        if found:
            return what.format(**{name: text.decode() for name, text in found.groupdict().items()})
    return None


def unrecognized(head: bytes) -> str:
    """Describe an unknown file, which is not quoted: through a link, it could be any file of the system."""
    return "has an unknown format" if _CONTROL.search(head) else "is text and not a model"
