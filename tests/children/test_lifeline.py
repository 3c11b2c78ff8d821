"""The confinement of a child process, seen from inside one, from beside it, and from its parent."""

from __future__ import annotations

import ctypes
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from service.children.lifeline import NOBODY
from service.errors import ImportCrashedError
from service.live.importing import import_in_child
from service.model.catalog.stored import open_catalog
from service.model.storage.source import identify
from tests.support.helpers import Place, in_child, model_bytes, need, put
from tests.support.pickles import pickled

pytestmark = pytest.mark.usefixtures("children_are_measured")

IMPORTER = "service.children.importing"
#: Run by the child, when it would begin to read.
LOOK = """
import ctypes, json, resource
ioprio_get = {"x86_64": 252, "aarch64": 31}[os.uname().machine]
def refusal(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return error.strerror
def look(job, answer=child.answer):
    said = dict(line.split(":", 1) for line in open("/proc/self/status"))
    fields = ("Uid", "Gid", "Groups", "NoNewPrivs", "CapInh", "CapPrm", "CapEff", "CapAmb")
    found = {name: said[name].split() for name in fields}
    found |= {name: refusal(open, f"/proc/{os.getppid()}/{name}", "rb") for name in ("environ", "mem", "maps")}
    found |= {"fork": refusal(lambda: os.fork() or os._exit(0)), "above": refusal(os.listdir, "../..")}
    found["variables"] = sorted(os.environ)
    found["nice"] = os.getpriority(os.PRIO_PROCESS, 0)
    found["class"] = ctypes.CDLL(None).syscall(ioprio_get, 1, 0) >> 13
    for limit in ("AS", "CPU", "FSIZE", "NPROC", "CORE"):
        found[limit] = resource.getrlimit(getattr(resource, "RLIMIT_" + limit))
    print(json.dumps(found), file=sys.stderr)
    return answer(job)
child.answer = look
"""
STAYS = "import service.children.lifeline as lifeline\nlifeline._become_nobody = lambda _: None\n"


@pytest.fixture
def as_root() -> None:
    """Skip a test if another user runs it."""
    need(os.geteuid() == 0, "Only root can change the user: run as root")


async def seen_from_inside(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, first: str = ""
) -> dict[str, Any]:
    """Import a model, and return what the child found of itself and of us; ``first`` is run before that."""
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    in_child(tmp_path, monkeypatch, IMPORTER, first + LOOK)
    put(place.path, model_bytes())
    place.shelf.root.mkdir(parents=True)
    place.shelf.root.parent.chmod(0o700)
    await import_in_child(identify(place.path), place.shelf, place.limits)
    (said,) = (record for record in caplog.records if getattr(record, "event", "") == "child_said")
    found: dict[str, Any] = json.loads(said.__dict__["facts"]["text"])
    return found


@pytest.mark.usefixtures("as_root")
async def test_a_child_of_root_is_nobody(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It has no group and cannot go where it was not put, and yet the model arrives in a directory of root's."""
    found = await seen_from_inside(place, tmp_path, monkeypatch, caplog)
    assert found["Uid"] == found["Gid"] == [str(NOBODY)] * 4
    assert found["Groups"] == []
    assert found["above"] == "Permission denied"


@pytest.mark.parametrize("first", ["", STAYS], ids=["another user", "the same user"])
async def test_a_child_can_do_nothing_but_its_work(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, first: str
) -> None:
    """It has no capability, cannot get one, start a process or look into its parent, be it the same user or not."""
    found = await seen_from_inside(place, tmp_path, monkeypatch, caplog, first)
    assert found["NoNewPrivs"] == ["1"]
    assert {found[name][0] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert [found[name] for name in ("environ", "mem", "maps")] == ["Permission denied"] * 3
    memory = place.limits.memory_bytes(place.path.stat().st_size)
    assert found["AS"] == found["FSIZE"] == [memory, memory]
    assert found["CPU"] == [20, 21]
    assert found["NPROC"] == found["CORE"] == [0, 0]
    assert not [name for name in found["variables"] if name.startswith("PYTHON")]
    assert found["fork"] == "Resource temporarily unavailable" or (first and os.geteuid() == 0)


async def test_a_child_gives_way(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It has the lowest priority on processors, and gets the disk when nobody else waits for it."""
    found = await seen_from_inside(place, tmp_path, monkeypatch, caplog)
    assert (found["nice"], found["class"]) == (19, 3)


async def test_a_parent_closes_its_memory_before_it_has_a_child(place: Place) -> None:
    """That alone keeps a child out that is the same user, where that user has no privilege that the child lacks."""
    prctl, get_dumpable, set_dumpable = ctypes.CDLL(None).prctl, 3, 4
    prctl(set_dumpable, 1, 0, 0, 0)
    put(place.path, model_bytes())
    await import_in_child(identify(place.path), place.shelf, place.limits)
    assert prctl(get_dumpable, 0, 0, 0, 0) == 0


async def test_a_lower_limit_stays(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A limit that the server was started with is not an error where it is below ours."""
    first = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))\n"
    assert (await seen_from_inside(place, tmp_path, monkeypatch, caplog, first))["FSIZE"] == [2**20, 2**20]


CONTENTS = {"npz": model_bytes(), "pickle": pickled()}
CATALOGS = {
    "csv": b"item_id,title,price,tags,day\n7,Seven,1.5,a|b,2024-01-31\n",
    "json": gzip.compress(b'{"id": 7, "title": "Seven", "price": 1.5, "tags": ["a", "b"], "day": "2024-01-31"}'),
    "utf-16": "id\tx\n7\ty\n".encode("utf-16"),
}
UNIMPORTABLE = """
import service.children.work as work
confine = work.confine
work.confine = lambda *given: (confine(*given), sys.meta_path.clear())
"""


@pytest.mark.parametrize("kind", CONTENTS)
async def test_nothing_is_imported_once_it_is_confined(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Python itself may be out of reach by then, so the import does without it."""
    in_child(tmp_path, monkeypatch, IMPORTER, UNIMPORTABLE)
    put(place.path, CONTENTS[kind])
    source = identify(place.path)
    await import_in_child(source, place.shelf, place.limits)
    assert place.shelf.find(source)


@pytest.mark.parametrize("kind", CATALOGS)
async def test_a_catalog_too_is_imported_without_imports(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Arrow, which reads catalogs, is loaded completely before that."""
    in_child(tmp_path, monkeypatch, "service.children.catalog", UNIMPORTABLE)
    put(place.path, CATALOGS[kind])
    source = identify(place.path)
    await import_in_child(source, place.shelf, place.limits, content="catalog")
    assert len(open_catalog(place.shelf.place_of(source))) == 1


@pytest.mark.usefixtures("as_root")
async def test_what_a_child_wrote_is_ours_in_the_end(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it did to its files, no later child may change them."""
    lines = (
        "def answer(job, answer=child.answer):\n    said = answer(job)\n"
        "    for name in ('.', *os.listdir()): os.chmod(name, 0o6777)\n    return said\nchild.answer = answer"
    )
    in_child(tmp_path, monkeypatch, IMPORTER, lines)
    put(place.path, model_bytes())
    source = identify(place.path)
    await import_in_child(source, place.shelf, place.limits)
    snapshot = place.shelf.place_of(source)
    for path in (snapshot, *snapshot.iterdir()):
        found = path.stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o7022) == (os.geteuid(), os.getegid(), 0), path


LEFT = {
    "symbolic link": "os.symlink('/etc/hostname', 'x')",
    "pipe": "os.mkfifo('x')",
    "hard link": "os.link('item_norms.npy', 'x')",
}


@pytest.mark.parametrize("leave", LEFT.values(), ids=LEFT)
async def test_anything_but_a_file_is_refused(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leave: str
) -> None:
    """A child that was taken over cannot have its parent read, or give away, what it cannot reach itself."""
    lines = (
        "def answer(job, answer=child.answer):\n    said = answer(job)\n"
        f"    {leave}\n    return said\nchild.answer = answer"
    )
    in_child(tmp_path, monkeypatch, IMPORTER, lines)
    put(place.path, model_bytes())
    with pytest.raises(ImportCrashedError, match=r"which is not a plain file\.$"):
        await import_in_child(identify(place.path), place.shelf, place.limits)
    assert not list(place.shelf.root.iterdir())
