"""The API on a real socket, over models made in memory, for tests of the API."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import aiohttp
from aiohttp.test_utils import RawTestServer
from multidict import CIMultiDictProxy
from prometheus_client import CollectorRegistry
from yarl import URL

from service import api
from service.api.context import Context, Fallback
from service.api.tokens import Access
from service.live.administration import Administration
from service.live.importing import ImportLimits
from service.model.arranging import arrange
from service.model.catalog.assortment import EVERYTHING, Assortment
from service.model.factors import Factors
from service.model.scoring import costs, score_ranges
from service.model.storage.array_files import FileFacts
from service.model.storage.shelf import Shelf
from service.model.storage.snapshot import FORMAT_VERSION, Manifest, Snapshot
from service.model.storage.source import Signature, Source
from service.observe.metrics import Metrics
from service.tokens import Tokens
from tests.support.stores import Store


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """What the API needs to know of the settings."""

    max_n: int = 1000
    fallback: Fallback = "popular"
    query_threads: int = 2
    queue_ms: float = 100
    access_log: float = 0
    cache_mb: int = 0
    allow_origins: str | None = None
    ids: Literal["native", "text"] = "native"
    allowed_hosts: str | None = None
    management_port: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: its status, headers and body."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Any:
        """Return the body decoded."""
        return json.loads(self.body)


class Api:
    """A served API and a client of it. Paths are sent as they are given, nothing is encoded or resolved."""

    def __init__(self, context: Context, store: Store, server: RawTestServer) -> None:
        self.context = context
        self.metrics = context.metrics
        self.store = store
        self.server = server
        self._session = aiohttp.ClientSession()

    def sample(self, name: str, **labels: str) -> float | None:
        """Return one sample as a scrape would, None where there is none; of the served arm unless labels name one."""
        found = self.metrics.registry.get_sample_value(name, labels)
        return self.metrics.registry.get_sample_value(name, {"arm": "served", **labels}) if found is None else found

    async def request(self, method: str, path: str, **options: Any) -> Answer:
        """Send one request."""
        url = URL(f"http://127.0.0.1:{self.server.port}{path}", encoded=True)
        async with self._session.request(method, url, **options) as response:
            return Answer(response.status, response.headers, await response.read())

    async def get(self, path: str, **headers: str) -> Answer:
        """Send a GET; a header X_Request_Id is X-Request-Id."""
        return await self.request("GET", path, headers={name.replace("_", "-"): text for name, text in headers.items()})

    async def post(self, path: str, body: object) -> Answer:
        """Send a POST with a body as JSON."""
        headers = {"Content-Type": "application/json"}
        return await self.request("POST", path, data=json.dumps(body).encode(), headers=headers)

    async def raw(self, sent: bytes) -> bytes:
        """Send bytes on a connection of their own and return all that comes back until the server closes it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        writer.write(sent)
        try:
            return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()

    async def close(self) -> None:
        """Close the client's connections."""
        await self._session.close()


@asynccontextmanager
async def serving(
    snapshot: Snapshot | None,
    settings: ApiSettings | None = None,
    *,
    body_seconds: float = api.BODY_SECONDS,
    tokens: Tokens | None = None,
    assortment: Assortment = EVERYTHING,
) -> AsyncIterator[Api]:
    """Serve a snapshot, or none yet, for the length of a block; with ``tokens``, only to those that have the scope.

    assortment: which of its items may be shown.
    """
    metrics = Metrics(CollectorRegistry())
    path = Path("als_model.pkl")
    store = Store(path, Shelf(Path("als_state"), 3), ImportLimits(60, 0, {}), metrics)
    store.current = snapshot
    access = None if tokens is None else Access(tokens, metrics)
    status = store.live.status()
    if status.slot.current:
        status.slot.current = replace(status.slot.current, assortment=assortment)
    router, context = api.create_api(
        settings or ApiSettings(),
        status,
        metrics,
        access=access,
        administer=Administration(store.live).perform,
        body_seconds=body_seconds,
    )
    server = RawTestServer(router.answer, host="127.0.0.1")
    await server.start_server(access_log=None, auto_decompress=False)
    served = Api(context, store, server)
    try:
        yield served
    finally:
        await served.close()
        await server.close()
        context.queries.close()


def make_snapshot(factors: Factors, name: str = "a model") -> Snapshot:
    """Make a snapshot of a model in memory; another ``name`` gives it another version."""
    model = arrange(factors)
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        source=Source(
            "/models/als_model.pkl", Signature("/models/als_model.pkl", 1, 2, 10_763_099, 10**18, 10**18), sha256
        ),
        source_format="pickle",
        created_at=datetime.now(UTC),
        users=len(model.user_ids),
        items=len(model.item_ids),
        factors=model.item_factors.shape[1],
        rho=model.codes.rho,
        user_id_kind=model.user_ids.kind,
        item_id_kind=model.item_ids.kind,
        seen_pairs=len(model.seen.items) if model.seen else None,
        regularization=model.regularization,
        alpha=model.alpha,
        scores=score_ranges.analyse(model),
        costs=costs.measure(model),
        training=factors.facts,
        seconds={"read": 0.25},
        files={"item_factors.npy": FileFacts(model.item_factors.nbytes, "00")},
    )
    return Snapshot(Path(f"als_state/snapshots/{FORMAT_VERSION}-0"), manifest, model)


def encoded(text: object) -> str:
    """Return an id as it stands in a path."""
    return quote(str(text), safe="")
