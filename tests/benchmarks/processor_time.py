"""Processor time a request of two installations of als-serve, measured in turn: what a change costs.

    python -m tests.benchmarks.processor_time --against OTHER/.venv/bin/python [--rounds 24] [--seconds 1]

The model and the load are those of ``throughput``, without the response cache. Both servers run side by side; each
round measures both, and which is first alternates. A ratio is of one round's figures, this installation to the other;
its median is printed, with its quartiles in brackets, for the processor's time and for requests a second. Needs wrk.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import psutil

from tests.benchmarks.throughput import USERS, write_model, wrk, wrk_script
from tests.support.running import RunningServer, running_server


def one_round(server: RunningServer, script: Path, seconds: int) -> tuple[float, float]:
    """Return the requests a second, and the microseconds that the server worked for each."""
    process = psutil.Process(server.process.pid)
    before = process.cpu_times()
    rate = wrk(server.url, script, seconds)
    after = process.cpu_times()
    worked = after.user + after.system - before.user - before.system
    return rate, 1e6 * worked / (rate * seconds)


def show(name: str, labels: tuple[str, str], figures: list[tuple[float, float]]) -> None:
    """Print the medians of both, and of the ratio of each pair, with its quartiles."""
    first, second = (statistics.median(column) for column in zip(*figures, strict=True))
    low, ratio, high = statistics.quantiles([one / other for one, other in figures], n=4)
    print(f"{name}: {labels[0]} {first:.1f}, {labels[1]} {second:.1f}; ratio {ratio:.3f} ({low:.3f} to {high:.3f})")


def _measure(directory: Path, pythons: tuple[str, str], rounds: int, seconds: int) -> None:
    model, script = directory / "als_model.npz", directory / "users.lua"
    write_model(model)
    script.write_text(wrk_script(USERS))
    with ExitStack() as stack:
        servers = []
        for number, python in enumerate(pythons):
            state = directory / str(number)  # and not where either would find the other's modules
            command = [python, "-m", "service", "serve"]
            off = None if number else {"ALS_CACHE_MB": "0"}  # which the other may not know
            servers.append(stack.enter_context(running_server(model, state, off, command=command, cwd=directory)))
        for server in servers:
            server.wait_until_ready()
        figures = []
        for number in range(rounds):
            measured = {
                server: one_round(server, script, seconds) for server in (servers if number % 2 else servers[::-1])
            }
            figures.append([measured[server] for server in servers])
    for column, name in enumerate(("requests/s", "microseconds of a processor for each")):
        show(name, ("this", "the other"), [(this[column], other[column]) for this, other in figures])


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", required=True, help="the Python of the other installation")
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--seconds", type=int, default=1)
    options = parser.parse_args()
    if not shutil.which("wrk"):
        raise SystemExit("wrk is missing: apt-get install wrk")
    with tempfile.TemporaryDirectory() as directory:
        _measure(Path(directory), (sys.executable, options.against), options.rounds, options.seconds)


if __name__ == "__main__":
    main()
