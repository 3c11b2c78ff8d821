"""The loader of catalogs: imported in a child, kept on a shelf of their own, and put into force."""

from __future__ import annotations

import asyncio
from pathlib import Path

from service.errors import BadCatalogError
from service.live.generation import Slot
from service.live.importing import ImportLimits, import_in_child
from service.live.policy_files import PolicyLoader
from service.model.catalog.assortment import coverage
from service.model.catalog.catalog import Catalog
from service.model.catalog.stored import open_catalog
from service.model.filtering.evaluation import described
from service.model.storage.shelf import Shelf
from service.model.storage.source import Source
from service.observe.logs import log_event
from service.untrusted import with_quotations


async def import_catalog(source: Source, shelf: Shelf, limits: ImportLimits) -> Catalog:
    """Import a file of items to the shelf, and open it there.

    Raises BadCatalogError, ModelRejectedError and its subclasses, OutOfResourcesError.
    """
    await import_in_child(source, shelf, limits, content="catalog")
    return await asyncio.to_thread(open_catalog, shelf.place_of(source))


class CatalogLoader(PolicyLoader[Catalog]):
    """Loads a catalog."""

    missing_error = BadCatalogError

    def __init__(self, path: Path, slot: Slot, shelf: Shelf, limits: ImportLimits) -> None:
        super().__init__("items", path, slot, shelf)
        self._limits = limits

    def _open(self, place: Path) -> Catalog:
        return open_catalog(place)

    async def _import(self, source: Source) -> Catalog:
        return await import_catalog(source, self._shelf, self._limits)

    async def _announce(self, loaded: Catalog) -> None:
        columns = ", ".join(f"{name} ({described(column)})" for name, column in loaded.columns.items())
        log_event("catalog", path=str(self._path), count=len(loaded), columns=columns or "none")
        for remark in loaded.account.remarks:
            log_event("catalog_remark", text=with_quotations(remark))
        left_out = sum(loaded.account.left_out.values())
        if left_out or loaded.account.repeated:
            log_event("catalog_rows", left_out=left_out, repeated=loaded.account.repeated)
        if self._slot.loaded:
            fit = await asyncio.to_thread(coverage, loaded, self._slot.loaded.snapshot.model)
            log_event("catalog_coverage", items=fit.items, listed=fit.listed, unknown=fit.unknown)
