"""The library's metrics of the process itself, plus those of its workers."""

from __future__ import annotations

import re
from collections.abc import Iterator, MutableSequence
from pathlib import Path

from prometheus_client import CollectorRegistry, GCCollector, Metric, ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from service.observe.sheets import Labels, Numbers

#: A sum of these over processes means nothing.
_NOT_SUMMED = frozenset({"process_start_time_seconds", "process_max_fds", "process_virtual_memory_bytes"})
_RESIDENT = "process_resident_memory_bytes"


class ProcessMetrics(Collector):
    """CPU time, memory, descriptors and garbage collections of this process and of those that ``numbers`` adds."""

    def __init__(self, registry: CollectorRegistry, numbers: Numbers) -> None:
        self._found = CollectorRegistry()
        ProcessCollector(registry=self._found)
        GCCollector(registry=self._found)
        self._numbers = numbers
        self._published: dict[tuple[str, Labels], MutableSequence[float]] = {}
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, summed over processes."""
        for family in self._found.collect():
            family.samples = [self._summed(sample) for sample in family.samples]
            yield family

    def publish(self) -> None:
        """Write this process's numbers to its sheet."""
        for family in self._found.collect():
            for sample in family.samples:
                if sample.name not in _NOT_SUMMED:
                    value = _anonymous_bytes() if sample.name == _RESIDENT else sample.value
                    self._place_of(sample, lasting=family.type == "counter")[0] = value

    def _summed(self, sample: Sample) -> Sample:
        labels = tuple(sample.labels.values())
        others = (values[0] for found, values in self._numbers.elsewhere(sample.name) if found == labels)
        return sample._replace(value=sample.value + sum(others))

    def _place_of(self, sample: Sample, *, lasting: bool) -> MutableSequence[float]:
        key = sample.name, tuple(sample.labels.values())
        if key not in self._published:
            self._published[key] = self._numbers.allot(*key, 1, lasting=lasting)
        return self._published[key]


def _anonymous_bytes() -> float:
    """Return the memory that only this process has: the keeper has mapped the same files."""
    found = re.search(r"^RssAnon:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    return 1024 * float(found[1]) if found else 0.0
