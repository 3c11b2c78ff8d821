"""The columns of a file of items: which has the ids, the titles and the availability, and what the others are called.

What a user says of them is a text such as "price=number,genres=list,sku=id,secret=-".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.errors import BadCatalogError, SettingsError
from service.model.tables.names import ITEM_COLUMNS, plain
from service.untrusted import quote

#: Attributes are named in error messages, and each takes up to four files. Few shops have more than fifty.
MAX_COLUMNS = 256
#: A longer one is not the name of an attribute, but probably a text of a file without a header.
MAX_NAME_CHARACTERS = 64

_ROLES = ("id", "title", "available")
#: What a column may be called in :func:`columns_of`.
MEANINGS = (*_ROLES, "bool", "number", "date", "text", "list", "-")
_SURE = ("item", "itemid", "iid")
#: For each role, common names in groups: those of the first group that a header has any of count.
_USUAL = {
    "id": (
        _SURE,
        ("id",),
        tuple(name for name in ITEM_COLUMNS if name.endswith("id") and name not in _SURE),
        tuple(name for name in ITEM_COLUMNS if not name.endswith("id") and name not in _SURE),
    ),
    "title": (("title", "itemtitle", "producttitle"), ("name", "itemname", "productname")),
    "available": (("available",),),
}
_SHOWN_NAMES, _SHOWN_CHARACTERS = 20, 40


@dataclass(frozen=True, slots=True)
class Places:
    """Where a table has what: the places of columns in its header.

    attributes: {name: place}. meanings: what the user said of an attribute. remarks: why columns are left out.
    """

    id: int
    title: int | None
    available: int | None
    attributes: Mapping[str, int]
    meanings: Mapping[str, str]
    remarks: tuple[str, ...]


def columns_of(given: str | None) -> dict[str, str]:
    """Return {column: meaning} of "column=meaning,column=meaning". Raises SettingsError."""
    columns: dict[str, str] = {}
    for part in filter(None, map(str.strip, (given or "").split(","))):
        name, _, meaning = map(str.strip, part.rpartition("="))
        if not name or meaning not in MEANINGS or (meaning in _ROLES and meaning in columns.values()):
            raise SettingsError(
                f"ALS_ITEM_COLUMNS (or --item-columns) has {part!r}; it must be COLUMN=MEANING, as in price=number, "
                f"where MEANING is one of {', '.join(MEANINGS)}, and {', '.join(_ROLES)} occur once."
            )
        columns[name] = meaning
    return columns


def find_places(header: Sequence[str], given: Mapping[str, str]) -> Places:
    """Find out what the columns of a header are. Raises BadCatalogError, whose sentence does not name the file."""
    names = [name.strip() for name in header]
    if len(names) > MAX_COLUMNS:
        raise BadCatalogError(f"it has {len(names)} columns; at most {MAX_COLUMNS} are read: leave the others out")
    _refuse_unknown(names, given)
    roles = {role: _role(role, names, given) for role in _ROLES}
    if roles["id"] is None:
        raise BadCatalogError(
            f"it lacks a column of ids, such as item_id; it has {listed(names)}: name the column, as in "
            "ALS_ITEM_COLUMNS=code=id (--item-columns code=id)"
        )
    attributes, remarks = _attributes(names, given, set(roles.values()))
    meanings = {name: given[names[place]] for name, place in attributes.items() if names[place] in given}
    return Places(roles["id"], roles["title"], roles["available"], attributes, meanings, tuple(remarks))


def listed(names: Sequence[str]) -> str:
    """Return names for a message, so many and so long that they can be read."""
    shown = [quote(name[:_SHOWN_CHARACTERS]) for name in names[:_SHOWN_NAMES]]
    return ", ".join(shown + ["…"] * (len(names) > _SHOWN_NAMES))


def _refuse_unknown(names: Sequence[str], given: Mapping[str, str]) -> None:
    for name, meaning in given.items():
        if name not in names and meaning != "-":
            raise BadCatalogError(f"it lacks the column {name!r}, which ALS_ITEM_COLUMNS names; it has {listed(names)}")


def _role(role: str, names: Sequence[str], given: Mapping[str, str]) -> int | None:
    """Return the place of the column with this role: the given one, else that with the most usual name."""
    for wanted in [name for name, meaning in given.items() if meaning == role]:
        return _only(role, [place for place, name in enumerate(names) if name == wanted], names)
    free = [place for place, name in enumerate(names) if name not in given]
    for usual in _USUAL[role]:
        found = [place for place in free if plain(names[place]) in usual]
        if found:
            return _only(role, found, names)
    return None


def _only(role: str, found: Sequence[int], names: Sequence[str]) -> int:
    if len(found) > 1:
        raise BadCatalogError(
            f"it has {' and '.join(quote(names[place]) for place in found[:_SHOWN_NAMES])}: name the right one, as in "
            f"ALS_ITEM_COLUMNS=code={role} (--item-columns code={role})"
        )
    return found[0]


def _attributes(
    names: Sequence[str], given: Mapping[str, str], taken: set[int | None]
) -> tuple[dict[str, int], list[str]]:
    """Return the places of all other columns by their names, and why some are left out."""
    attributes: dict[str, int] = {}
    remarks = []
    for place, name in enumerate(names):
        if place in taken or given.get(name) == "-":
            continue
        if name in attributes:
            raise BadCatalogError(f"it has {quote(name)} twice: rename one of the columns")
        if 0 < len(name) <= MAX_NAME_CHARACTERS:
            attributes[name] = place
        else:
            longer = f"its name has more than {MAX_NAME_CHARACTERS} characters"
            remarks.append(f"column {place + 1} is left out: {longer if name else 'it has no name'}")
    return attributes, remarks
