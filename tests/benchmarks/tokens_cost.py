"""What a token costs: the check alone, and requests to a server with tokens and to one without, by wrk, in one run.

    python -m tests.benchmarks.tokens_cost [--rounds 24] [--seconds 1]

The check is measured in this process: a handler that does nothing, with and without it, in turns of 20,000 calls. Then
two real servers run side by side and are measured in turn; requests to the one with tokens send one, so its figures
include reading the header. The model is small and its answers come from the response cache, so that the requests are
the cheapest there are. A ratio is of one round's figures; its median is printed, with its quartiles in brackets. Needs
wrk.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from prometheus_client import CollectorRegistry

from service.api.context import Context, Handler, Ids
from service.api.tokens import Access, guarded
from service.observe.metrics import Metrics
from service.tokens import MOST_TOKENS, Tokens, digest_of, line_of, make_token, new_token
from tests.benchmarks.made import als_like
from tests.benchmarks.processor_time import one_round, show
from tests.benchmarks.throughput import wrk_script
from tests.support.running import running_server

_CALLS = 20_000
_USERS = 1000


def _tokens(token: str) -> Tokens:
    """Return as many tokens as a file may have, this one among them."""
    others = (make_token(f"other-{number}", ["read"], digest_of(new_token())) for number in range(MOST_TOKENS - 1))
    return make_token("measured", ["read", "users"], digest_of(token)), *others


def _measure_check(token: str, rounds: int) -> None:
    request = make_mocked_request("GET", "/", headers={"Authorization": f"Bearer {token}"})
    context: Any = None  # which the handler does not look at
    with_check = guarded(_nothing, "read", Access(_tokens(token), Metrics(CollectorRegistry())))
    figures = []
    for number in range(rounds):
        handlers = (with_check, _nothing) if number % 2 else (_nothing, with_check)
        measured = {handler: _nanoseconds(handler, request, context) for handler in handlers}
        figures.append(measured[with_check] - measured[_nothing])
    low, median, high = statistics.quantiles(figures, n=4)
    print(f"the check: {median:.0f} nanoseconds of a processor ({low:.0f} to {high:.0f})")


def _nothing(_: web.BaseRequest, __: Context, ___: Ids) -> Any:
    """Return nothing to await: only the call is measured."""


def _nanoseconds(handler: Handler, request: web.BaseRequest, context: Context) -> float:
    started = time.process_time_ns()
    for _ in range(_CALLS):
        handler(request, context, {})
    return (time.process_time_ns() - started) / _CALLS


def _measure_servers(directory: Path, token: str, rounds: int, seconds: int) -> None:
    model, tokens = directory / "als_model.npz", directory / "tokens"
    users, items = als_like(_USERS, 500, 16, seed=1)
    np.savez(model, user_factors=users, item_factors=items)
    tokens.write_text("\n".join(map(line_of, _tokens(token))))
    scripts = [directory / "with.lua", directory / "without.lua"]
    scripts[0].write_text(f'wrk.headers["Authorization"] = "Bearer {token}"\n{wrk_script(_USERS)}')
    scripts[1].write_text(wrk_script(_USERS))
    with ExitStack() as stack:
        servers = [
            stack.enter_context(running_server(model, directory / "with-state", tokens_file=tokens)),
            stack.enter_context(running_server(model, directory / "without-state")),
        ]
        for server in servers:
            server.wait_until_ready()
        figures = []
        for number in range(rounds):
            order = (0, 1) if number % 2 else (1, 0)
            measured = {place: one_round(servers[place], scripts[place], seconds) for place in order}
            figures.append((measured[0], measured[1]))
    for column, name in enumerate(("requests/s", "microseconds of a processor for each")):
        show(name, ("with a token", "without"), [(one[column], other[column]) for one, other in figures])


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--seconds", type=int, default=1)
    options = parser.parse_args()
    if not shutil.which("wrk"):
        raise SystemExit("wrk is missing: apt-get install wrk")
    token = new_token()
    _measure_check(token, options.rounds)
    with tempfile.TemporaryDirectory() as directory:
        _measure_servers(Path(directory), token, options.rounds, options.seconds)


if __name__ == "__main__":
    main()
