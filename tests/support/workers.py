"""Looking at a service of several workers from outside: its processes, and what a scrape says."""

from __future__ import annotations

import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.support.running import RunningServer


def workers_of(keeper: int) -> list[psutil.Process]:
    """Return the workers that a keeper has running: not one that has ended, nor what imports."""
    found: list[psutil.Process] = psutil.Process(keeper).children()
    return [child for child in found if b"service.workers.worker" in _command_of(child)]


def processes_of(server: RunningServer) -> list[psutil.Process]:
    """Return the keeper, or the one process, and its workers."""
    return [psutil.Process(server.process.pid), *workers_of(server.process.pid)]


def _command_of(process: psutil.Process) -> bytes:
    """Return what a process was started with, nothing where it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{process.pid}/cmdline").read_bytes()
    return b""


def scrape(url: str) -> str:
    """Return the metrics as text."""
    with urllib.request.urlopen(url + "/metrics", timeout=30) as answer:
        text: str = answer.read().decode()
        return text


def samples(url: str) -> dict[str, float]:
    """Return every sample of a scrape, by its name and labels."""
    return _by_name(list(text_string_to_metric_families(scrape(url))))


def lasting(url: str) -> dict[str, float]:
    """Return the samples that may never fall: those of counters and histograms."""
    families = text_string_to_metric_families(scrape(url))
    return _by_name([family for family in families if family.type in ("counter", "histogram")])


def _by_name(families: list[Metric]) -> dict[str, float]:
    return {
        sample.name + (str(sorted(sample.labels.items())) if sample.labels else ""): sample.value
        for family in families
        for sample in family.samples
    }
