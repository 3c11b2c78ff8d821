"""The sample shop, as the explorer shows it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.cli.demo import train_on_sample
from tests.support.running import RunningServer, running_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Serve the sample shop, and refuse no query because the machine is busy."""
    shop = tmp_path_factory.mktemp("shop")
    model, items = train_on_sample(shop)
    with running_server(model, shop / "state", items=items, queue_ms=60_000) as server:
        server.wait_until_ready()
        server.wait_for("catalog")
        yield server
