"""Catalogs in a live server: imported in a child, and opened."""

from __future__ import annotations

import asyncio

from service.live.importing import ImportLimits, import_in_child
from service.model.catalog.catalog import Catalog
from service.model.catalog.stored import open_catalog
from service.model.storage.shelf import Shelf
from service.model.storage.source import Source


async def import_catalog(source: Source, shelf: Shelf, limits: ImportLimits) -> Catalog:
    """Import a file of items to the shelf, and open it there.

    Raises BadCatalogError, ModelRejectedError and its subclasses, OutOfResourcesError.
    """
    await import_in_child(source, shelf, limits, content="catalog")
    return await asyncio.to_thread(open_catalog, shelf.place_of(source))
