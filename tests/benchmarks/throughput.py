"""Requests a second of the real server next to a bare aiohttp handler and a naive one, by wrk, in one run.

    python -m tests.benchmarks.throughput [--rounds 5] [--seconds 4] [--model seed|grocery|million] [--hot USERS]

The model "seed" has 18,902 users, 34,911 items and 50 factors, trained by implicit on made-up interactions of users
with taste; "grocery" likewise 49,000 items and 64 factors; "million" has a million items with 64 random factors whose
norms fall as in a real model. Users are drawn at random from all, and the response cache is off; or from a few ``hot``
ones, with the cache as it is by default. The bare handler returns the same number of bytes without any work; the naive
one, for "seed", is what teams write first: globals, implicit's own ``model.recommend``, and a list of dicts. Each round
measures all; the ratios are of a round's own figures. Needs wrk.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from aiohttp import web
from aiohttp.typedefs import Handler

from tests.benchmarks.made import als_like, interactions, trained
from tests.support.models import make_seen
from tests.support.running import running_server

USERS, ITEMS, FACTORS, PER_USER, SEED = 18_902, 34_911, 50, 30, 1
TOP = 10
GROCERY_ITEMS, GROCERY_FACTORS = 49_000, 64


def wrk_script(users: int) -> str:
    """Return what has wrk ask for users below this number."""
    path = f'"/v1/users/" .. math.random(0, {users - 1}) .. "/recommendations?n={TOP}"'
    return f'request = function() return wrk.format("GET", {path}) end'


def write_model(path: Path, items: int = ITEMS, factors: int = FACTORS) -> None:
    """Write a trained model as npz."""
    model, seen = trained(USERS, items, factors, PER_USER, SEED), interactions(USERS, items, PER_USER, SEED)
    arrays = {"user_factors": model.user_factors, "item_factors": model.item_factors}
    np.savez(path, **arrays, seen_indptr=seen.indptr, seen_indices=seen.indices)


def _write_million(path: Path) -> None:
    users, items = als_like(USERS, 1_000_000, 64, SEED)
    seen = make_seen(np.random.default_rng(SEED), USERS, len(items), USERS * PER_USER)
    np.savez(path, user_factors=users, item_factors=items, seen_indptr=seen.indptr, seen_indices=seen.items)


MODELS: dict[str, Callable[[Path], None]] = {
    "seed": write_model,
    "grocery": lambda path: write_model(path, GROCERY_ITEMS, GROCERY_FACTORS),
    "million": _write_million,
}


def _bare(body: bytes) -> web.Application:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    return _app(answer)


def _naive() -> web.Application:
    model, seen = trained(USERS, ITEMS, FACTORS, PER_USER, SEED), interactions(USERS, ITEMS, PER_USER, SEED)

    async def answer(request: web.Request) -> web.Response:
        user = int(request.match_info["user"])
        ids, scores = model.recommend(user, seen[user], N=int(request.query["n"]))
        items = [{"item_id": int(item), "score": float(score)} for item, score in zip(ids, scores, strict=True)]
        return web.json_response({"user_id": user, "items": items})

    return _app(answer)


def _app(answer: Handler) -> web.Application:
    app = web.Application()
    app.router.add_get("/v1/users/{user}/recommendations", answer)
    return app


def _serve_other(kind: str, body: bytes) -> None:
    """Run one of the other servers in this process until it is killed."""

    async def run() -> None:
        runner = web.AppRunner(_naive() if kind == "naive" else _bare(body), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()

    asyncio.run(run())


@contextmanager
def _other(kind: str, body: bytes) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.benchmarks.throughput", "--other", kind]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    process.stdin.write(body)
    process.stdin.close()
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


def wrk(url: str, script: Path, seconds: int, connections: int = 16) -> float:
    """Return the requests a second that a server answers."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"wrk saw errors:\n{output}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", output)
    assert found
    return float(found[1])


def _measure(directory: Path, rounds: int, seconds: int, name: str, hot: int | None) -> None:
    model, lua = directory / "als_model.npz", directory / "users.lua"
    MODELS[name](model)
    lua.write_text(wrk_script(hot or USERS))
    with ExitStack() as stack:
        server = stack.enter_context(running_server(model, directory / "state", None if hot else {"ALS_CACHE_MB": "0"}))
        server.wait_until_ready()
        body = urllib.request.urlopen(f"{server.url}/v1/users/7/recommendations?n={TOP}").read()
        kinds = ("bare", "naive") if name == "seed" else ("bare",)
        urls = {"als-serve": server.url} | {kind: stack.enter_context(_other(kind, body)) for kind in kinds}
        figures = [{name: wrk(url, lua, seconds) for name, url in urls.items()} for _ in range(rounds)]
    for name in urls:
        rates = [figure[name] for figure in figures]
        ratio = statistics.median(figure["als-serve"] / figure[name] for figure in figures)
        print(f"{name:>10}: {statistics.median(rates):8.0f} requests/s; als-serve is {ratio:.2f} of it")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--model", choices=MODELS, default="seed")
    parser.add_argument("--hot", type=int)
    parser.add_argument("--other", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.other:
        return _serve_other(options.other, sys.stdin.buffer.read())
    if not shutil.which("wrk"):
        raise SystemExit("wrk is missing: apt-get install wrk")
    with tempfile.TemporaryDirectory() as directory:
        return _measure(Path(directory), options.rounds, options.seconds, options.model, options.hot)


if __name__ == "__main__":
    main()
