"""Files that are not tables that can be read, by their first bytes, each with a remedy."""

from __future__ import annotations

import re

_CSV = "save the table as CSV or Parquet"
_OTHERS = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), what)
    for pattern, what in (
        (rb"PK\x03\x04.{26,60}(\[Content_Types\]|xl/|_rels/)", "is an Excel workbook: save the sheet as CSV"),
        (rb"PK\x03\x04|PK\x05\x06", "is a zip archive: unpack it first"),
        (rb"\xfd7zXZ\x00", "is compressed with xz: decompress it first"),
        (rb"\x1f\x8b|\x28\xb5\x2f\xfd|BZh\d", "is compressed twice: decompress it first"),
        (
            rb"\x5d\x00\x00.{2}|\x1f[\x9d\xa0]|\x78[\x01\x5e\x9c\xda][^\n -~]|\xff\x06\x00\x00sNaPpY|\x89LZO",
            "is compressed in a way that is not read: decompress it first",
        ),
        (rb"7z\xbc\xaf\x27\x1c|Rar!", "is an archive: unpack it first"),
        (rb".{257}ustar", "is a tar archive: unpack it first"),
        (rb"\xd0\xcf\x11\xe0", "is an old Excel workbook: save the sheet as CSV"),
        (rb"PAR1", "is a compressed Parquet file: decompress it first"),
        (rb"PARE", "is an encrypted Parquet file: save it without encryption"),
        (rb"ORC", f"is an ORC file: {_CSV}"),
        (rb"ARROW1|FEA1", f"is an Arrow or Feather file: {_CSV}"),
        (rb"Obj\x01", f"is an Avro file: {_CSV}"),
        (rb"SQLite format 3\x00", f"is an SQLite database: {_CSV}"),
        (rb"%%MatrixMarket", f"is a Matrix Market file: {_CSV}"),
        (rb"%PDF-", f"is a PDF document: {_CSV}"),
        (rb"\x89HDF", f"is an HDF5 file: {_CSV}"),
        (rb"\x93NUMPY|\x80[\x02-\x05]", f"holds Python or NumPy objects: {_CSV}"),
        (rb"version https://git-lfs", "is a Git LFS pointer: fetch the file with git lfs pull"),
        (rb"\s*<(!doctype|html|\?xml)", "is a web page or XML, perhaps an error page that was downloaded instead"),
        (rb'\s*(\{\s*"|\[\s*[\[{])', f"is JSON: {_CSV}"),
    )
)


#: Text whose encoding only a byte order mark would show.
_UNMARKED = {"utf-16-le": re.compile(rb"([^\x00]\x00){8}"), "utf-16-be": re.compile(rb"(\x00[^\x00]){8}")}


def foreign(head: bytes) -> str | None:
    """Describe a file that is known not to be a table of text, and what to do about it."""
    return next((what for pattern, what in _OTHERS if pattern.match(head)), None)


def unmarked(head: bytes) -> str | None:
    """Return the encoding of a file that has no byte order mark and needs one."""
    return next((name for name, pattern in _UNMARKED.items() if pattern.match(head)), None)
