"""How a text file is written, from its first lines: delimiter, quotes, encoding, and the names of its columns."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TextIO

from service.errors import TrainingError
from service.model.tables.foreign_tables import foreign, unmarked
from service.model.tables.streams import first_bytes, marked_encoding, opened_text
from service.training.account import Account
from service.training.columns import listed, naming, option, role_of
from service.training.data_files import DataFile
from service.training.layout import Layout

_DELIMITERS = (",", "\t", ";", "|", "::")
#: Where a quote is a letter like any other; blanks are only a delimiter if there is no other.
_UNQUOTED = {"\t", "::", " "}
_LONGEST_HEADER = 2**16
_HEAD = 512
_LOOKED_AT = 20
_SEPARATOR = re.compile(r"sep=(.)(\r\n|\r|\n)", re.IGNORECASE)
#: What lines before the first row begin with in SNAP's and KONECT's data sets, and in what NumPy writes.
_COMMENTS = ("#", "%")
_MOST_COMMENTS = 1000
_LINE_BREAK = re.compile(r"\r\n|\r|\n")
#: One character that stands for a delimiter of several in what Arrow reads.
_STAND_IN = "\x1f"

_USUAL_ORDER = ("user", "item", "rating", "time")
_BASKETS = ("user", "items")
_WHOLE, _NUMBER, _MOMENT = (re.compile(form) for form in (r"[0-9]+", r"-?[0-9]+(\.[0-9]+)?", r"[0-9]{9,13}"))
#: The classic files without a header: u.data and ratings.dat. With commas, items may come first.
_MOVIELENS, _MOVIELENS_DELIMITERS = (_WHOLE, _WHOLE, _NUMBER, _MOMENT), {"\t", "::"}

Record = list[str]


@dataclass(frozen=True, slots=True)
class TextForm:
    """The form of one text file.

    header: the names of its columns. titled: whether its first row has them. quoted: whether fields may be in quotes.
    skipped: lines before the first row. baskets: whether a line has a user and all of the user's items.
    """

    delimiter: str
    header: tuple[str, ...]
    titled: bool
    quoted: bool
    encoding: str
    skipped: int
    baskets: bool

    @property
    def character(self) -> str:
        """Return the delimiter as one character."""
        return self.delimiter if len(self.delimiter) == 1 else _STAND_IN

    @property
    def renamed(self) -> tuple[str, str] | None:
        """Return what is to be replaced, and by what, so that the delimiter is one character."""
        return None if len(self.delimiter) == 1 else (self.delimiter, _STAND_IN)


def form_of(file: DataFile, layout: Layout, account: Account) -> TextForm | None:
    """Return the form of a text file, None if it is empty.

    Raises TrainingError, UnicodeDecodeError, and the errors of reading and decompressing.
    """
    start = first_bytes(file, _HEAD).removeprefix(codecs.BOM_UTF8)
    other, given = foreign(start), unmarked(start)
    if other:
        raise TrainingError(f"{file.path} {other}.")
    if given and layout.encoding is None:
        raise TrainingError(
            f"{file.path} is UTF-16 without a byte order mark: give --encoding {given}{option('encoding', given)}."
        )
    encoding = layout.encoding or marked_encoding(start) or "utf-8"
    with opened_text(file, encoding) as text:
        named, comments, head = _beginning(text)
    if not head.strip():
        return None
    delimiter = layout.delimiter or named or _delimiter(head)
    quoted, records = _records(head, delimiter)
    with naming(file.path):
        header, titled = _header(records, comments, delimiter, layout, account)
    account.comments += len(comments)
    skipped = len(comments) + (named is not None)
    return TextForm(delimiter, header, titled, quoted, encoding, skipped, header == _BASKETS)


def _beginning(text: TextIO) -> tuple[str | None, list[str], str]:
    """Return the delimiter that a first line names, if any, the lines of comments after it, and the beginning then."""
    line = text.readline(_LONGEST_HEADER)
    named = _SEPARATOR.fullmatch(line)
    line = text.readline(_LONGEST_HEADER) if named else line
    comments: list[str] = []
    while line.startswith(_COMMENTS) and len(comments) < _MOST_COMMENTS:
        comments.append(line)
        line = text.readline(_LONGEST_HEADER)
    return named[1] if named else None, comments, line + text.read(_LONGEST_HEADER - len(line))


def _delimiter(head: str) -> str:
    """Return the delimiter that gives every one of the first rows the most fields."""
    found = {delimiter: [len(record) for record in _records(head, delimiter)[1]] for delimiter in _DELIMITERS}
    best = max(found, key=lambda delimiter: (min(found[delimiter]), found[delimiter][0]))
    return best if found[best][0] > 1 or " " not in head.strip() else " "


def _records(head: str, delimiter: str) -> tuple[bool, list[Record]]:
    """Return whether fields may be in quotes, and the first rows."""
    lines: Iterable[str] = filter(str.strip, _LINE_BREAK.split(head))
    records = [line.split(delimiter) for line in itertools.islice(lines, _LOOKED_AT)]
    if len(delimiter) > 1 or (delimiter in _UNQUOTED and not any(map(_is_quoted, records[0]))):
        return False, _whole(records, head, delimiter)
    rows = filter(None, csv.reader(io.StringIO(head, newline=""), delimiter=delimiter))
    return True, _whole(list(itertools.islice(rows, _LOOKED_AT)), head, delimiter)


def _is_quoted(field: str) -> bool:
    return len(field) > 1 and field[0] == field[-1] == '"'


def _whole(records: list[Record], head: str, delimiter: str) -> list[Record]:
    """Leave out a last row that may be cut, and what is not a field after a blank at the end of a line."""
    if len(head) == _LONGEST_HEADER and 1 < len(records) < _LOOKED_AT:
        records.pop()
    return [[field for field in record if field] for record in records] if delimiter == " " else records


def _header(
    records: list[Record], comments: list[str], delimiter: str, layout: Layout, account: Account
) -> tuple[tuple[str, ...], bool]:
    """Return the names of the columns, and whether the first row has them. Raises TrainingError."""
    first = records[0]
    if layout.header is not None:
        return _given(first, layout.header or _known(records, delimiter) or ()), False
    try:
        layout.names.found_in(first)
    except TrainingError:
        known = _commented(comments, records[0], delimiter, layout)
        if known:
            return known, False
        known = _known(records, delimiter)
        if known is None and any(map(_NUMBER.fullmatch, first)):
            raise _headless(first) from None
        if known is None:
            raise
        account.remark(f"there is no header; the columns are taken for {', '.join(known)}")
        return known, False
    return tuple(first), True


def _commented(comments: list[str], first: Record, delimiter: str, layout: Layout) -> tuple[str, ...] | None:
    """Return the names of the columns if the last line of comments has them."""
    names = [name.strip() for name in "".join(comments[-1:]).lstrip("#% ").split(delimiter)]
    with suppress(TrainingError):  # it has other names, so it is not a header
        layout.names.found_in(names)
        return tuple(names) if len(names) == len(first) else None
    return None


def _known(records: list[Record], delimiter: str) -> tuple[str, ...] | None:
    """Return the columns of a file without a header in a known layout: MovieLens, or a user's items on a line."""
    lengths = {len(record) for record in records}
    if delimiter in _MOVIELENS_DELIMITERS and lengths == {len(_USUAL_ORDER)}:
        rated = all(all(map(_fits, _MOVIELENS, record)) for record in records)
        return _USUAL_ORDER if rated else None
    whole = delimiter == " " and all(_fits(_WHOLE, field) for record in records for field in record)
    return _BASKETS if whole and len(lengths) > 1 else None


def _fits(form: re.Pattern[str], field: str) -> bool:
    return form.fullmatch(field) is not None


def _given(first: Record, header: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns as given, proven against the first row."""
    with_time = len(first) == 3 and _fits(_MOMENT, first[2])
    usual = ("user", "item", "time") if with_time else _USUAL_ORDER[: len(first)]
    header = header or usual
    if {"user", "item"} <= {role_of(name) for name in first}:
        raise TrainingError(
            f"the first row is a header ({listed(first)}), although columns are named for files without"
        )
    if header != _BASKETS and len(header) != len(first):
        raise TrainingError(
            f"the first row has {len(first)} fields, and {len(header)} columns are named: name all in their order, "
            f"with - for each that is not needed, with --columns{option('columns')}"
        )
    return header


def _headless(first: Record) -> TrainingError:
    example = ",".join((*_USUAL_ORDER[: len(first)], *"-" * (len(first) - len(_USUAL_ORDER))))
    return TrainingError(
        f"the first line has no names of columns ({listed(first)}); if there is no header, name the columns in their "
        f"order, with - for each that is not needed, as in --columns {example}{option('columns', example)}"
    )
