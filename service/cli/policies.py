"""The policy of a command: what may be shown and to whom, read from the files of a server's settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from service.app import catalog_import
from service.cli.models import scratch
from service.errors import BadCatalogError, BadListError, SourceMissingError
from service.live.catalog import import_catalog
from service.live.policy import Policy
from service.model.catalog.catalog import Catalog
from service.model.catalog.id_list import IdList, read_id_list
from service.model.storage import source
from service.settings import Settings

#: The settings that make up a policy.
POLICY = ("items", "item_columns", "items_required", "unavailable", "hidden_users")


@asynccontextmanager
async def imported_policy(settings: Settings) -> AsyncIterator[Policy]:
    """Read the catalog and the lists that the settings name, the catalog into a temporary directory.

    Raises BadCatalogError, BadListError, and what else keeps a file from being read.
    """
    unavailable, hidden_users = map(read_list, (settings.unavailable, settings.hidden_users))
    policy = Policy(None, unavailable, hidden_users, listed_only=settings.items_required)
    if settings.items is None:
        yield policy
        return
    async with imported_catalog(settings, settings.items) as catalog:
        yield replace(policy, items=catalog)


@asynccontextmanager
async def imported_catalog(settings: Settings, path: Path) -> AsyncIterator[Catalog]:
    """Import a file of items as a server does, into a temporary directory.

    Raises BadCatalogError, and what else keeps a file from being imported.
    """
    try:
        found = await asyncio.to_thread(source.identify, path, settings.max_model_mb * 2**20)
    except SourceMissingError:
        raise BadCatalogError(f"There is no file at {path}.") from None
    with scratch(settings) as directory:
        yield await import_catalog(found, *catalog_import(replace(settings, state_dir=directory)))


def read_list(path: Path | None) -> IdList | None:
    """Read a file with one id a line, if there is one. Raises BadListError, UnreadableSourceError."""
    if path is None:
        return None
    try:
        with source.opened(path, source.signature(path)) as file:
            return read_id_list(path, file)
    except SourceMissingError:
        raise BadListError(f"There is no file at {path}.") from None
