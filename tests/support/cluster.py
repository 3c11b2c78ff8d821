"""A real Spark cluster: a master and workers, processes on 127.0.0.1 that take free ports, from the package pyspark."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.support import ROOT
from tests.support.helpers import need
from tests.support.waiting import until

#: Where ``make test-spark`` installs pyspark, apart from all else, which needs none of it.
PACKAGES = Path(sys.prefix) / "spark"
_HOME = PACKAGES / "pyspark"
#: For processes of seconds, the first compiler is the faster one, and several collectors of garbage are too many.
_JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
_DEFAULTS = {
    "driver.bindAddress": "127.0.0.1",
    "driver.host": "127.0.0.1",
    "driver.memory": "512m",
    "executor.memory": "512m",
    "master.rest.enabled": "false",
    "shuffle.io.maxRetries": "1",
    "shuffle.io.retryWait": "1s",
    "sql.adaptive.enabled": "false",
    "sql.shuffle.partitions": "2",
    "ui.enabled": "false",
}


class Worker:
    """A worker with one core, and the executor that it has while a job runs."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def kill(self) -> None:
        """End it and its executor at once, as if the machine had gone."""
        executors = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        for each in executors:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self._process.wait()


class Job:
    """A submitted job; ``log`` has what its driver writes."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    def said(self) -> str:
        """Return the end of the log."""
        return self.log.read_text(errors="replace")[-3000:]

    def finish(self, seconds: float = 600) -> None:
        """Return once the job has succeeded."""
        assert self.process.wait(timeout=seconds) == 0, self.said()

    def refusal(self) -> str:
        """Return the sentence with which the job ended, and nothing else."""
        assert self.process.wait(timeout=600) == 1, self.said()
        said = self.log.read_text(errors="replace")
        assert "Traceback" not in said, said
        (sentence,) = re.findall(r"^Error: (.+)$", said, re.MULTILINE)
        return str(sentence)


class Cluster:
    """A master, the workers that were added, and jobs; its files are in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []
        (directory / "conf").mkdir()
        lines = [f"spark.{name} {value}\n" for name, value in _DEFAULTS.items()]
        (directory / "conf/spark-defaults.conf").write_text("".join(lines))
        self._environment = os.environ | {
            "JAVA_TOOL_OPTIONS": _JAVA_OPTIONS,
            "PYSPARK_PYTHON": sys.executable,
            "PYTHONPATH": os.pathsep.join(map(str, (PACKAGES, ROOT))),
            "SPARK_CONF_DIR": str(directory / "conf"),
            "SPARK_DAEMON_MEMORY": "128m",
            "SPARK_HOME": str(_HOME),
            "SPARK_LOCAL_DIRS": str(directory / "local"),
            "SPARK_LOCAL_IP": "127.0.0.1",
        }
        self._start("master", "--host", "127.0.0.1", "--port", 0, "--webui-port", 0)
        self.url = self._logged("master", r"Starting Spark master at (spark://\S+)")

    def add_worker(self) -> Worker:
        """Start a worker, and return once the master knows it."""
        name = f"worker{len(self._processes)}"
        options = ("--host", "127.0.0.1", "--port", 0, "--webui-port", 0, "--cores", 1, "--memory", "512m")
        process = self._start(name, *options, "--work-dir", self._directory / "work", self.url)
        self._logged(name, "(Successfully registered with master)")
        return Worker(process)

    def submit(self, name: str, job: Path, *options: object, alone: bool = False) -> Job:
        """Start a job; ``alone`` is without the workers, for what needs none of their time to start executors."""
        master = "local[1]" if alone else self.url
        process = self._run(name, "bin/spark-submit", "--master", master, job, *options)
        return Job(process, self._log(name))

    def stop(self) -> None:
        """End everything; jobs first, workers after them, and the master last."""
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)

    def _start(self, name: str, *options: object) -> subprocess.Popen[bytes]:
        kind = name.rstrip("0123456789")
        return self._run(name, "bin/spark-class", f"org.apache.spark.deploy.{kind}.{kind.capitalize()}", *options)

    def _run(self, name: str, program: str, *options: object) -> subprocess.Popen[bytes]:
        command = list(map(str, (_HOME / program, *options)))
        with self._log(name).open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment, cwd=self._directory)
        self._processes.append(process)
        return process

    def _logged(self, name: str, pattern: str) -> str:
        """Return what a process has logged, once it has."""
        log = self._log(name)
        until(lambda: re.search(pattern, log.read_text()), lambda: f"{name}: {log.read_text()}", 60)
        found = re.search(pattern, log.read_text())
        assert found
        return found[1]

    def _log(self, name: str) -> Path:
        return self._directory / f"{name}.log"


@contextmanager
def running_cluster(directory: Path) -> Iterator[Cluster]:
    """Run a master for the length of a block."""
    need(_HOME.is_dir(), f"no {_HOME}: make test-spark")
    cluster = Cluster(directory)
    try:
        yield cluster
    finally:
        cluster.stop()
