"""Changes of availability under open-loop load: what fails, what is shown too late, and how soon changes count.

    python -m tests.benchmarks.availability [--changes 100] [--rate 200] [--items 5000] [--workers 1]

The real server with the default settings. A list of half of the items at ALS_UNAVAILABLE is replaced by one of the
other half, by a rename; every answer says which list it was made under.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support.availability import Change, withdraw, wrongly_shown
from tests.support.load import Answer, open_loop, percentile
from tests.support.running import running_server
from tests.support.swapping import TwoModels

USERS, FACTORS = 2000, 32
PROMISED_SECONDS = 1.0


def _path(number: int) -> str:
    kind = ("users/{}/recommendations", "items/{}/similar")[number % 2]
    return f"/v1/{kind.format(number * 7919 % USERS)}?n=10"


async def _change_repeatedly(path: Path, items: int, times: int) -> list[Change]:
    """Replace the list, each time after another pause, so that no rhythm of the server's decides."""
    loop, changes = asyncio.get_running_loop(), []
    for number in range(times):
        await asyncio.to_thread(withdraw, path, items, number % 2)
        renamed = loop.time()
        changes.append(Change(renamed, renamed + PROMISED_SECONDS, number % 2))
        await asyncio.sleep(PROMISED_SECONDS + random.uniform(0.2, 0.8))
    return changes


def _seconds_until_it_counts(answers: list[Answer], changes: list[Change]) -> list[float]:
    """Return for each change when the last request began whose answer showed what it withdrew."""
    found = []
    for change, following in zip(changes, [*changes[1:], None], strict=True):
        late = [
            answer.due - change.renamed
            for answer in answers
            if change.renamed <= answer.due and (following is None or answer.done < following.renamed)
            if any(entry["item_id"] % 2 == change.parity for entry in answer.body["items"])
        ]
        found.append(max(late, default=0.0))
    return found


async def _measure(changes: int, rate: float, items: int, workers: int, directory: Path) -> bool:
    models = TwoModels.make(USERS, items, FACTORS)
    path, unavailable = directory / "als_model.npz", directory / "unavailable.txt"
    models.put(next(iter(models.contents)), path)
    withdraw(unavailable, items, 1)
    settings: dict[str, Any] = {"unavailable": unavailable, "workers": workers, "watch_seconds": 2}
    with running_server(path, directory / "state", environment={}, **settings) as server:
        await asyncio.to_thread(server.wait_until_ready)
        stop = asyncio.Event()
        load = asyncio.create_task(open_loop(server.url, _path, rate, stop))
        made = await _change_repeatedly(unavailable, items, changes)
        stop.set()
        answers = await load
    failed = [answer for answer in answers if answer.status != 200]
    wrong = wrongly_shown(answers, made)
    print(
        f"{len(answers)} requests at {rate:g}/s, {changes} lists of {items // 2} of {items} items: {len(failed)} failed"
    )
    print(f"{len(wrong)} answers show what was withdrawn a second before the request")
    if not failed:
        seconds = _seconds_until_it_counts(answers, made)
        print(", ".join(f"p{percent} {percentile(seconds, percent):.0f} ms" for percent in (50, 90, 100)))
    return not failed and not wrong


def main() -> None:
    """Measure, and fail if the promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--changes", type=int, default=100)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--items", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        kept = asyncio.run(_measure(chosen.changes, chosen.rate, chosen.items, chosen.workers, Path(directory)))
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
