"""Asks for a URL 50 times a second, each time on a new connection, and prints how many requests failed so far."""

from __future__ import annotations

import sys
import time
import urllib.request
from itertools import count


def is_answered(url: str) -> bool:
    """Say whether one request is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - the caller's own URL
            return bool(answer.read())
    except OSError:
        return False


def main() -> None:
    """Ask until the process is ended."""
    failed = 0
    for number in count(1):
        failed += not is_answered(sys.argv[1])
        print(f"{number} requests, {failed} failed", flush=True)
        time.sleep(0.02)


if __name__ == "__main__":
    main()
