"""The policy: what may be shown and to whom, with any model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from service.model.catalog.assortment import EVERYTHING, Assortment, assort
from service.model.catalog.catalog import Catalog
from service.model.catalog.id_list import EMPTY, IdList
from service.model.model import Model

Part: TypeAlias = Literal["items", "unavailable", "hidden_users"]

#: The setting that names the file of each part.
SETTINGS: dict[Part, str] = {
    "items": "ALS_ITEMS",
    "unavailable": "ALS_UNAVAILABLE",
    "hidden_users": "ALS_HIDDEN_USERS",
}


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """The catalog and the lists that are in force, each None if there is none, or none yet; immutable.

    expected: the parts that settings name; nothing is served before all of them have come. listed_only: whether items
    that the catalog does not list are unavailable.
    """

    items: Catalog | None = None
    unavailable: IdList | None = None
    hidden_users: IdList | None = None
    expected: tuple[Part, ...] = ()
    listed_only: bool = False

    def having(self, part: Part, content: Catalog | IdList) -> Policy:
        """Return this policy with another part."""
        changes: dict[str, Any] = {part: content}
        return replace(self, **changes)

    @property
    def missing(self) -> tuple[str, ...]:
        """The settings whose files have not come yet."""
        return tuple(SETTINGS[part] for part in self.expected if getattr(self, part) is None)

    def assort(self, model: Model, known: Assortment) -> Assortment:
        """Return what is allowed of a model; ``known`` is what was allowed of it before, if anything."""
        unavailable, hidden_users = self.unavailable or EMPTY, self.hidden_users or EMPTY
        if self.items is None and not len(unavailable) and not len(hidden_users):
            return EVERYTHING
        rows = known.catalog_rows if known.catalog is self.items else None
        return assort(model, self.items, unavailable.ids, hidden_users.ids, listed_only=self.listed_only, rows=rows)
