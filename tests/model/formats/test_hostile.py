"""Hostile files: each is refused with its exact message, nothing is executed, and limits stop endless work."""

from __future__ import annotations

import copyreg
import io
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import (
    CorruptFileError,
    ImportCpuError,
    ImportCrashedError,
    ImportMemoryError,
    ModelRejectedError,
    OutOfResourcesError,
    UnknownFormatError,
    UnsafePickleError,
)
from service.model.formats.globals import find
from service.model.formats.reading import read
from service.model.formats.table import format_of
from service.model.validation.validation import validate
from tests.support.hostile import BOMBS, bomb, corpus

PLACEHOLDER = Path("/marker")


def read_bytes(content: bytes) -> None:
    """Read and prove a file's content."""
    validate(read(Path("model.pkl"), io.BytesIO(content)))


@pytest.mark.parametrize("name", corpus(PLACEHOLDER))
def test_a_hostile_file_is_refused_with_its_exact_reason(name: str, tmp_path: Path) -> None:
    """Read from a real file, as the importer does; the command that some carry has not run."""
    marker = tmp_path / "executed"
    hostile = corpus(marker)[name]
    path = tmp_path / "model"
    path.write_bytes(hostile.content)
    with path.open("rb") as file, pytest.raises(ModelRejectedError) as caught:
        validate(read(path, file))
    assert (type(caught.value), str(caught.value)) == (hostile.error, hostile.sentence.format(path=path))
    assert not marker.exists()


def test_the_payloads_are_live(tmp_path: Path) -> None:
    """The same bytes do run in an ordinary unpickler, or their refusal would prove nothing."""
    marker = tmp_path / "executed"
    files = corpus(marker)
    for name in ("os.system", "posix.system at protocol 0", "eval", "open", "INST", "OBJ"):
        result = pickle.loads(files[name].content)
        if hasattr(result, "close"):
            result.close()
        assert marker.exists(), name
        marker.unlink()


@pytest.mark.parametrize("registered", [False, True])
def test_an_extension_code_finds_nothing(registered: bool) -> None:
    """Not even one that this process has registered and used before, which pickle keeps in a cache."""
    content = b"\x80\x02\x82\xf0."
    if registered:
        copyreg.add_extension("os", "system", 0xF0)
    try:
        if registered:
            assert pickle.loads(content).__name__ == "system"
        with pytest.raises(UnsafePickleError):
            read_bytes(content)
    finally:
        if registered:
            copyreg.remove_extension("os", "system", 0xF0)


@pytest.mark.parametrize("name", ["ndarray", "dtype"])
def test_a_stand_in_refuses_to_be_changed(name: str) -> None:
    """No attribute of a stand-in can be set, and no stand-in can be a key."""
    stand_in = find("numpy", name)
    with pytest.raises(UnsafePickleError):
        stand_in.name = "x"
    with pytest.raises(TypeError):
        hash(stand_in)
    assert not hasattr(stand_in, "__dict__")


def test_a_class_refuses_to_be_changed() -> None:
    """Nor can the classes: what one pickle does is gone before the next is read."""
    als = find("implicit.als", "AlternatingLeastSquares")
    with pytest.raises(UnsafePickleError):
        als.get = None
    assert isinstance(als, type)
    assert not hasattr(als(), "__dict__")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_cut_anywhere_says_so(protocol: int) -> None:
    """Cut after any byte, the pickle is called cut short, with the size it has."""
    content = pickle.dumps({"model": None, "user_id_map": {1: "ab", 2: 1.5}, "x": [b"abc", (1, 2), 2**70]}, protocol)
    for end in range(2, len(content)):
        with pytest.raises(CorruptFileError) as caught:
            read_bytes(content[:end])
        assert str(caught.value) == (f"The pickle is cut short: the file ends after {end} bytes; copy it again, whole.")


def test_an_archive_cut_anywhere_is_damaged() -> None:
    """Cut after any byte, the archive is reported as damaged, or the rest is not an archive."""
    content = corpus(PLACEHOLDER)["npz without item factors"].content
    for end in range(1, len(content)):
        with pytest.raises((CorruptFileError, UnknownFormatError)):
            read_bytes(content[:end])


class _BrokenDisk(io.BytesIO):
    """A file with a few bytes near its start that cannot be read."""

    def read(self, size: int | None = -1, /) -> bytes:
        if 0 < self.tell() < 40:
            raise OSError(5, "Input/output error")
        return super().read(size)


@pytest.mark.parametrize("name", ["a list", "npz with many alphas"])
def test_a_disk_that_fails_is_not_the_file_s_fault(name: str) -> None:
    """An I/O error is reported as one, not as damage."""
    with pytest.raises(OutOfResourcesError) as caught:
        read(Path("/models/m"), _BrokenDisk(corpus(PLACEHOLDER)[name].content))
    assert str(caught.value) == "/models/m cannot be read for now: Input/output error; it will be retried."


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a list", "pickle"), ("npz of nothing", "npz"), ("text", "unrecognized"), (None, "unrecognized")],
)
def test_a_format_is_guessed_without_reading(name: str | None, kind: str, tmp_path: Path) -> None:
    """The first bytes tell, also of a file that is refused; one that is not there is unrecognized."""
    if name:
        (tmp_path / "model").write_bytes(corpus(PLACEHOLDER)[name].content)
    assert format_of(tmp_path / "model") == kind


LIMITED = """
import resource, sys
from pathlib import Path
from service.model.formats.reading import read
from service.model.formats.table import format_of
from service.model.validation.validation import validate
path = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
seconds = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
resource.setrlimit(resource.RLIMIT_AS, (2 * path.stat().st_size + 512 * 2**20,) * 2)
try:
    with path.open("rb") as file:
        validate(read(path, file))
except MemoryError:
    print("memory")
"""

END = {
    ImportMemoryError: ("memory\n", 0),
    ImportCpuError: ("", -signal.SIGXCPU),
    ImportCrashedError: ("", -signal.SIGSEGV),
}


def end_of(program: str, *arguments: str) -> tuple[str, int]:
    """Run Python in a process of its own and return what it printed and how it ended."""
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    return done.stdout, done.returncode


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_ends_at_the_limits_of_its_process(name: str, tmp_path: Path) -> None:
    """Memory, CPU and stack run out in the child alone, in the way the importer reports."""
    file = bomb(name)
    path = tmp_path / name
    path.write_bytes(file.content)
    # Only where that is to be reached: what ends otherwise may take longer on a busy machine.
    cpu_seconds = 2 if file.error is ImportCpuError else 60
    assert end_of(LIMITED, str(path), str(cpu_seconds)) == END[file.error]


MUTATED = """
import io, random, resource, sys
from pathlib import Path
from service.errors import ModelRejectedError
from service.model.formats.reading import read
from service.model.formats.table import format_of
resource.setrlimit(resource.RLIMIT_AS, (700 * 2**20,) * 2)
rng = random.Random(11)
good = [Path(name).read_bytes() for name in sys.argv[1:]]
refused = 0
for _ in range(2000):
    content = bytearray(rng.choice(good))
    for _ in range(rng.choice((1, 1, 2, 5))):
        place = rng.randrange(len(content))
        content[place : place + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
    try:
        read(Path("model"), io.BytesIO(content))
    except (ModelRejectedError, MemoryError):
        refused += 1
print(refused > 1000)
"""


def test_no_mutation_escapes(tmp_path: Path) -> None:
    """Two thousand files with a few bytes changed: read or refused, never another exception or a crash."""
    files = corpus(PLACEHOLDER)
    names = ("a second pickle", "objects as factors", "npz with many alphas", "npz with ids of no UTF-8")
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.write_bytes(files[path.name].content)
    assert end_of(MUTATED, *map(str, paths)) == ("True\n", 0)
