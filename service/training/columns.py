"""The columns of a table of interactions: users, items, weights and times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from service.errors import TrainingError
from service.model.tables.names import ITEM_COLUMNS, plain
from service.untrusted import quote

#: Common names, as normalized by :func:`service.model.tables.names.plain`.
_USUAL = {
    "user": ("user", "userid", "uid", "customer", "customerid", "visitor", "visitorid", "member", "memberid", "account",
             "accountid", "reader", "readerid", "listenerid", "reviewerid"),
    "item": ITEM_COLUMNS,
    "weight": ("weight", "rating", "quantity", "qty", "count", "plays", "playcount", "strength", "confidence"),
    "time": ("timestamp", "time", "date", "datetime", "ts", "createdat", "eventtime", "unixtime", "invoicedate",
             "unixreviewtime"),
}  # fmt: skip


#: How much of a header a message shows: an unclosed quote turns many lines into one name.
_SHOWN_NAMES, _SHOWN_CHARACTERS = 20, 40


@dataclass(frozen=True, slots=True)
class ColumnNames:
    """The names of the four columns.

    None means detection by common names; an empty name means that a weight or time is not read.
    """

    user: str | None = None
    item: str | None = None
    weight: str | None = None
    time: str | None = None

    def given(self) -> list[str]:
        """Return the names of the existing columns."""
        return [name for name in (self.user, self.item, self.weight, self.time) if name]

    def roles(self) -> dict[str, str]:
        """Return the names of the existing columns by role."""
        return {role.name: name for role in fields(self) if (name := getattr(self, role.name))}

    def found_in(self, header: Sequence[str], on_untimed: Callable[[str], object] = lambda _why: None) -> ColumnNames:
        """Return the names found in a header, None for a missing weight or time.

        ``on_untimed`` is called if it is not clear which column has the times. Raises TrainingError if another column
        is missing, ambiguous, or named twice.
        """
        names = {role: self._find(role, header) for role in ("user", "item", "weight")}
        try:
            found = ColumnNames(**names, time=self._find("time", header))
        except TrainingError as error:
            if self.time is not None:
                raise
            on_untimed(str(error))
            found = ColumnNames(**names)
        missing = [role for role in ("user", "item") if names[role] is None]
        if missing:
            flags = " and ".join(f"--{role}-column" for role in missing)
            raise TrainingError(
                f"the header lacks {' and '.join(f'a column of {role}s' for role in missing)}; "
                f"it has {listed(header)}: name the column with {flags}{option('columns')}"
            )
        for name in found.given():
            if found.given().count(name) > 1:
                raise TrainingError(f"the column {name!r} is named for more than one of user, item, weight and time")
        return found

    def _find(self, role: str, header: Sequence[str]) -> str | None:
        wanted = getattr(self, role)
        if wanted is None:
            # A column named for one role is not used for another: "article" could be the user, and "book" the item.
            taken = self.given()
            found = [name for name in header if plain(name) in _USUAL[role] and name.strip() not in taken]
            remedy = f"name the right one with --{role}-column{option('columns')}"
        else:
            found = [name for name in header if wanted and name.strip() == wanted.strip()]
            remedy = "give each column its own name"
            if wanted and not found:
                raise TrainingError(f"the header lacks the column {wanted!r}; it has {listed(header)}")
        if len(found) > 1:
            raise TrainingError(f"the header has {' and '.join(map(quote, found[:_SHOWN_NAMES]))}; {remedy}")
        return found[0] if found else None


def role_of(name: str) -> str | None:
    """Return the role of a column with this name, None if it is not a usual name."""
    return next((role for role, names in _USUAL.items() if plain(name) in names), None)


def option(name: str, value: str = "") -> str:
    """Return the words that follow a flag in a message: the setting of a server that does the same."""
    return f" (of a server: ALS_TRAINING_{name.upper()}{'=' if value else ''}{value})"


def listed(header: Sequence[str]) -> str:
    """Return names for a message, so many and so long that they can be read."""
    names = [quote(name[:_SHOWN_CHARACTERS]) for name in header[:_SHOWN_NAMES]]
    return ", ".join(names + ["…"] * (len(header) > _SHOWN_NAMES))


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Prefix the message of every TrainingError of a block with the file."""
    try:
        yield
    except TrainingError as error:
        raise TrainingError(f"{path}: {error.marked}.") from None
