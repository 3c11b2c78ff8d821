"""What a user says about the files: their columns, delimiter and encoding."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, replace

from service.errors import TrainingError
from service.training.columns import ColumnNames, role_of

#: What a shell or an environment file makes hard to write.
_SPOKEN_DELIMITERS = {"\\t": "\t", "tab": "\t", "space": " ", "\\x01": "\x01"}


@dataclass(frozen=True, slots=True)
class Layout:
    """What is known of the files before they are read; what is None is detected in each.

    names: which columns to take. header: the columns of text files without a header, in their order; if empty, users,
    items, weights and times in this order.
    """

    names: ColumnNames = ColumnNames()
    header: tuple[str, ...] | None = None
    delimiter: str | None = None
    encoding: str | None = None


def layout_of(
    columns: str | None = None,
    *,
    names: ColumnNames = ColumnNames(),
    no_header: bool = False,
    delimiter: str | None = None,
    encoding: str | None = None,
) -> Layout:
    """Return a layout as flags and settings give it.

    columns: "user,item,rating,time" are the columns of files without a header; "user=who,item=what" names columns of a
    header. Raises TrainingError.
    """
    layout = Layout(names, () if no_header else None, _delimiter(delimiter), _encoding(encoding))
    if columns is None:
        return layout
    parts = tuple(part.strip() for part in columns.split(","))
    if all("=" in part for part in parts):
        return replace(layout, names=_named(parts, names))
    return replace(layout, header=parts)


def _named(parts: tuple[str, ...], names: ColumnNames) -> ColumnNames:
    for part in parts:
        role, _, name = part.partition("=")
        found = role_of(role)
        if found is None:
            raise TrainingError(f"The columns name {role!r}; only user, item, weight and time have a column.")
        names = replace(names, **{found: name})
    return names


def _delimiter(given: str | None) -> str | None:
    if given is None:
        return None
    delimiter = _SPOKEN_DELIMITERS.get(given, given)
    if not delimiter or not delimiter.isascii() or set(delimiter) & set('"\r\n'):
        raise TrainingError(
            f"The delimiter is {given!r}; it must be ASCII characters other than quotes and line breaks."
        )
    return delimiter


def _encoding(given: str | None) -> str | None:
    """Return a known encoding; looking it up also loads it, which a confined process cannot do later."""
    if given is None:
        return None
    try:
        "a".encode(given)
    except (LookupError, ValueError):
        raise TrainingError(
            f"The encoding is {given!r}, which is unknown; examples are utf-8, latin-1, cp1252 and utf-16."
        ) from None
    return codecs.lookup(given).name
