"""The columns of a table of interactions: users, items, weights and times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from service.errors import TrainingError
from service.model.titles import ITEM_COLUMNS, plain
from service.untrusted import quote

#: Common names, as normalized by :func:`service.model.titles.plain`.
_USUAL = {
    "user": ("user", "userid", "uid", "customer", "customerid", "visitor", "visitorid", "member", "memberid", "account",
             "accountid", "reader", "readerid", "listenerid"),
    "item": ITEM_COLUMNS,
    "weight": ("weight", "rating", "quantity", "qty", "count", "plays", "playcount", "strength", "confidence"),
    "time": ("timestamp", "time", "date", "datetime", "ts", "createdat", "eventtime", "unixtime"),
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

    def found_in(self, header: Sequence[str]) -> ColumnNames:
        """Return the names found in a header, None for a missing weight or time.

        Raises TrainingError if a column is missing, ambiguous, or named twice.
        """
        names = {role.name: self._find(role.name, header) for role in fields(self)}
        found = ColumnNames(**names)
        missing = [role for role in ("user", "item") if names[role] is None]
        if missing:
            flags = " and ".join(f"--{role}-column" for role in missing)
            raise TrainingError(
                f"the header lacks {' and '.join(f'a column of {role}s' for role in missing)}; "
                f"it has {_listed(header)}: name the column with {flags}"
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
            remedy = f"name the right one with --{role}-column"
        else:
            found = [name for name in header if wanted and name.strip() == wanted.strip()]
            remedy = "give each column its own name"
            if wanted and not found:
                raise TrainingError(f"the header lacks the column {wanted!r}; it has {_listed(header)}")
        if len(found) > 1:
            raise TrainingError(f"the header has {' and '.join(map(quote, found[:_SHOWN_NAMES]))}; {remedy}")
        return found[0] if found else None


def _listed(header: Sequence[str]) -> str:
    names = [quote(name[:_SHOWN_CHARACTERS]) for name in header[:_SHOWN_NAMES]]
    return ", ".join(names + ["…"] * (len(header) > _SHOWN_NAMES))


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Prefix the message of every TrainingError of a block with the file."""
    try:
        yield
    except TrainingError as error:
        raise TrainingError(f"{path}: {error.marked}.") from None
