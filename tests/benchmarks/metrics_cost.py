"""What counting costs: requests with everything counted and with nothing, by wrk, in one run.

    python -m tests.benchmarks.metrics_cost [--rounds 31] [--seconds 1]

The model and the load are those of ``throughput``. Two real servers run side by side and are measured in turn; the
other one leaves out what a request counts. Beside requests a second stands the processor's time for each, which
other work on the machine disturbs less. A ratio is of one round's figures; its
median is printed, with its quartiles in brackets. Needs wrk.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from service.api.instrument import RequestNumbers
from service.api.results import Results
from service.cli.main import main as serve
from tests.benchmarks.processor_time import one_round, show
from tests.benchmarks.throughput import USERS, write_model, wrk_script
from tests.support.running import running_server

THIS = "tests.benchmarks.metrics_cost"


def _serve_uncounted() -> None:
    for counts in (RequestNumbers, Results):
        counts.count = lambda *_, **__: None  # type: ignore[method-assign] # to count nothing is what is measured
    serve()


def _measure(directory: Path, rounds: int, seconds: int) -> None:
    model, script = directory / "als_model.npz", directory / "users.lua"
    write_model(model)
    script.write_text(wrk_script(USERS))
    with ExitStack() as stack:
        servers = [
            stack.enter_context(running_server(model, directory / kind, module=kind)) for kind in ("service", THIS)
        ]
        for server in servers:
            server.wait_until_ready()
        figures = []
        for number in range(rounds):
            order = servers if number % 2 else servers[::-1]
            measured = {server: one_round(server, script, seconds) for server in order}
            figures.append([measured[server] for server in servers])
    for place, name in enumerate(("requests/s", "microseconds of a processor for each")):
        show(name, ("counted", "uncounted"), [(counted[place], uncounted[place]) for counted, uncounted in figures])


def main() -> None:
    """Run the benchmark, or the server that counts nothing."""
    if sys.argv[1:] == ["serve"]:
        return _serve_uncounted()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--seconds", type=int, default=1)
    options = parser.parse_args()
    if not shutil.which("wrk"):
        raise SystemExit("wrk is missing: apt-get install wrk")
    with tempfile.TemporaryDirectory() as directory:
        return _measure(Path(directory), options.rounds, options.seconds)


if __name__ == "__main__":
    main()
