"""Which columns of a table say who had what, how much of it and when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from service.errors import TrainingError
from service.model.titles import ITEM_COLUMNS, plain

#: The usual names, as :func:`service.model.titles.plain` has them.
_USUAL = {
    "user": ("user", "userid", "uid", "customer", "customerid", "visitor", "visitorid", "member", "memberid", "account",
             "accountid", "reader", "readerid", "listenerid"),
    "item": ITEM_COLUMNS,
    "weight": ("weight", "rating", "quantity", "qty", "count", "plays", "playcount", "strength", "confidence"),
    "time": ("timestamp", "time", "date", "datetime", "ts", "createdat", "eventtime", "unixtime"),
}  # fmt: skip


#: How much of a header a sentence shows: a quote that is not closed makes one name of many lines.
_SHOWN_NAMES, _SHOWN_CHARACTERS = 20, 40


@dataclass(frozen=True, slots=True)
class ColumnNames:
    """What the four columns are called.

    None leaves the search to the usual names; an empty name says that a weight or a time is not to be read.
    """

    user: str | None = None
    item: str | None = None
    weight: str | None = None
    time: str | None = None

    def given(self) -> list[str]:
        """Return the names that there are."""
        return [name for name in (self.user, self.item, self.weight, self.time) if name]

    def found_in(self, header: Sequence[str]) -> ColumnNames:
        """Return the names that a header has; None for a weight or a time that it lacks.

        Raises TrainingError where a column is missing, could be several, or is named twice.
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
                raise TrainingError(f"the column {name!r} cannot be two of user, item, weight and time")
        return found

    def _find(self, role: str, header: Sequence[str]) -> str | None:
        wanted = getattr(self, role)
        if wanted is None:
            # What was named for one thing is not also another: "article" may be who reads, and "book" what is read.
            taken = self.given()
            found = [name for name in header if plain(name) in _USUAL[role] and name.strip() not in taken]
            remedy = f"name the one that counts with --{role}-column"
        else:
            found = [name for name in header if wanted and name.strip() == wanted.strip()]
            remedy = "give each column its own name"
            if wanted and not found:
                raise TrainingError(f"the header lacks the column {wanted!r}; it has {_listed(header)}")
        if len(found) > 1:
            raise TrainingError(f"the header has {' and '.join(found)}; {remedy}")
        return found[0] if found else None


def _listed(header: Sequence[str]) -> str:
    shown = [name if name.isprintable() else repr(name) for name in header[:_SHOWN_NAMES]]
    names = [name[:_SHOWN_CHARACTERS] for name in shown]
    return ", ".join(names + ["…"] * (len(header) > _SHOWN_NAMES))


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Begin the sentence of every TrainingError of a block with the file."""
    try:
        yield
    except TrainingError as error:
        raise TrainingError(f"{path}: {error}.") from None
