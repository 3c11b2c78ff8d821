"""The direction of imports, as CONTRIBUTING.md's table has it, read from the syntax of every module."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import service

ROOT = Path(service.__file__).parent

#: What each layer may import of ours besides itself. The wiring may import every layer.
LAYERS = {
    "untrusted": set[str](),
    "errors": {"untrusted"},
    "files": set[str](),
    "health": {"errors", "files"},
    "tokens": {"errors"},
    "settings": {"errors"},
    "environment": {"errors", "settings"},
    "observe": {"errors"},
    "model": {"errors", "files"},
    "threads": {"errors"},
    "connections": {"observe"},
    "listening": {"connections", "errors", "observe"},
    "s3": {"model", "errors", "files", "threads"},
    "live": {"children", "model", "s3", "errors", "files", "observe", "threads", "tokens"},
    "api": {"live", "model", "s3", "errors", "observe", "tokens"},
    "training": {"model", "errors", "files"},
    "spark": {"model", "training", "errors"},
    "children": {"model", "spark", "training", "errors"},
    "bulk": {"api", "model", "errors", "files"},
    "answering": {"api", "connections", "listening", "live"},
    "workers": {"answering", "api", "children", "connections", "errors", "live", "model", "observe", "tokens"},
}
WIRING = {"__main__", "app", "cli", "followers", "server"}
#: ... except that training is reached by few roads, so that no server has it in its process, and commands by one.
ONLY_FROM = {
    "training": {
        *(
            "service.children.training",
            "service.cli.data",
            "service.cli.demo",
            "service.cli.evaluation",
            "service.cli.progress",
        ),
        "service.cli.training",
        "service.spark",
    },
    "spark": {"service.children.converting"},
    "cli": {"service.__main__"},
}
#: Of live, the API knows the store and the words in which the store reports, nothing else; of its children, live knows
#: the words that they share, and the confinement. Readers of models are for what imports one.
SEES = {
    ("api", "live"): (
        "service.live.commands",
        "service.live.generation",
        "service.live.report",
        "service.live.scraping",
        "service.live.status",
    ),
    ("live", "children"): ("service.children.jobs", "service.children.lifeline"),
    ("api", "s3"): ("service.s3.versions",),
    ("answering", "api"): ("service.api",),
    ("answering", "live"): ("service.live.background",),
    ("workers", "children"): ("service.children.lifeline",),
}

#: What each room of the model may import of the other rooms. Beside the rooms is what they share.
ROOMS = {
    "formats": {"storage"},
    "validation": set[str](),
    "scoring": set[str](),
    "storage": {"scoring"},
    "tables": set[str](),
    "rollout": {"scoring", "storage"},
    "catalog": {"storage", "tables"},
    "filtering": {"catalog", "scoring"},
}

NOT_IN_MODEL = {"asyncio", "aiohttp", "http", "socket", "urllib"}
UNPICKLERS = {"pickle", "_pickle", "joblib", "cloudpickle", "dill", "shelve"}
READS_UNTRUSTED_PICKLES = "service.model.formats.pickle"

ENVIRONMENT = {"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv", "os.unsetenv"}
SETS_BLAS_THREADS = "os.environ.setdefault('OPENBLAS_NUM_THREADS', "


def modules() -> dict[str, Path]:
    """Return every module of the package by its dotted name."""
    paths = {path.relative_to(ROOT.parent).with_suffix(""): path for path in ROOT.rglob("*.py")}
    return {".".join(name.parts).removesuffix(".__init__"): path for name, path in sorted(paths.items())}


def layer(name: str) -> str:
    """Return the part after ``service.``, or nothing for the package itself and for names from elsewhere."""
    package, *rest = name.split(".")
    return rest[0] if package == "service" and rest else ""


def room(name: str) -> str:
    """Return the room of the model that a dotted name is in, or nothing for what is in none."""
    _, _, inside = name.partition("service.model.")
    return inside.split(".")[0] if inside.split(".")[0] in ROOMS else ""


def is_under(name: str, package: str) -> bool:
    """Say whether a dotted name is a package, a module in it or a name of either."""
    return name == package or name.startswith(package + ".")


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted name of everything imported anywhere in a module, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = "." * node.level + (node.module or "")
            yield from (f"{package}.{alias.name}" for alias in node.names)


def touches_environment(tree: ast.AST) -> bool:
    """Say whether a module reads or changes the environment, other than to keep BLAS on one thread."""
    allowed = {
        node.func.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node).startswith(SETS_BLAS_THREADS)
    }
    used = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node not in allowed)
    return any(ast.unparse(node) in ENVIRONMENT for node in used) or not ENVIRONMENT.isdisjoint(imports(tree))


def may_import_in_model(module: str, name: str) -> bool:
    """Say whether a module of the model may import a name, as far as the model's own rules go."""
    if name.split(".")[0] in NOT_IN_MODEL:
        return False
    return not room(module) or room(name) in {"", room(module)} | ROOMS[room(module)]


def may_import(module: str, name: str) -> bool:
    """Say whether a module may import a name."""
    here, there, package = layer(module), layer(name), name.split(".")[0]
    if package == "":
        return False  # a relative import hides its direction
    if package == "implicit":
        return here == "training"
    if package in UNPICKLERS:
        return here == "training" or module == READS_UNTRUSTED_PICKLES
    if here == "model" and not may_import_in_model(module, name):
        return False
    return here == there or there not in LAYERS.keys() | WIRING or may_enter(module, here, there, name)


def may_enter(module: str, here: str, there: str, name: str) -> bool:
    """Say whether a module of one layer may import a name of another."""
    if (here, there) in SEES:
        return any(is_under(name, module) for module in SEES[here, there])
    if there in ONLY_FROM:
        return any(is_under(module, road) for road in ONLY_FROM[there])
    return here in WIRING or there == "untrusted" or there in LAYERS.get(here, set())


def violations(module: str, source: str) -> list[str]:
    """Return what is wrong with a module's imports and its use of the environment."""
    tree = ast.parse(source)
    wrong = [f"{module} imports {name}" for name in imports(tree) if not may_import(module, name)]
    if touches_environment(tree) and module != "service.environment":
        wrong.append(f"{module} touches the environment")
    return wrong


@pytest.mark.parametrize(("module", "path"), modules().items(), ids=modules())
def test_imports_go_one_way(module: str, path: Path) -> None:
    """No module imports what its layer may not know, and the environment is read in one place."""
    assert violations(module, path.read_text(encoding="utf-8")) == []


def test_every_module_has_a_layer() -> None:
    """A new folder or module at the top is put into the table, or it has no rule."""
    assert {layer(module) for module in modules()} - {""} <= LAYERS.keys() | WIRING


def test_every_package_of_the_model_is_a_room() -> None:
    """Each has a rule."""
    assert {path.parent.name for path in (ROOT / "model").glob("*/__init__.py")} == ROOMS.keys()


#: What reads or makes models; and what takes time and memory that only some need.
READS_MODELS = tuple(
    f"service.model.{name}" for name in ("formats.reading", "formats.pickle", "formats.npz", "validation")
)
READS_TABLES = ("service.model.catalog.reading", "service.model.tables.streams")
TRAINS = ("service.training", "service.children.training", "service.spark", "implicit", "pyarrow", "optuna")
SPEAKS_S3 = ("botocore", "aiobotocore")


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("service.server", (*READS_MODELS, *READS_TABLES, *TRAINS, *SPEAKS_S3, "scipy", "rich", "lark")),
        ("service.cli.main", ("service.server", "aiohttp", "numpy", "rich")),
        ("service.workers.worker", (*READS_MODELS, *READS_TABLES, *TRAINS, *SPEAKS_S3, "scipy", "rich")),
        ("service.children.importing", (*TRAINS, *READS_TABLES, *SPEAKS_S3, "aiohttp", "asyncio")),
        ("service.children.catalog", ("service.training", "implicit", *READS_MODELS, *SPEAKS_S3, "scipy", "aiohttp")),
        (
            "service.children.converting",
            ("service.model.formats.reading", "implicit", "optuna", *SPEAKS_S3, "aiohttp", "asyncio"),
        ),
        ("service.children.training", ("service.model.formats.reading", *SPEAKS_S3, "aiohttp", "optuna")),
    ],
)
def test_a_process_has_only_what_it_needs(module: str, without: tuple[str, ...]) -> None:
    """No process that serves can unpickle or train, none that imports can train, and only what follows S3 speaks it."""
    program = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert module in loaded
    assert [name for name in loaded if any(is_under(name, other) for other in without)] == []


@pytest.mark.parametrize(
    ("module", "statement", "complaint"),
    [
        ("service.errors", "import service.observe.logs", "imports service.observe.logs"),
        ("service.observe.metrics", "from service.settings import Settings", "imports service.settings.Settings"),
        ("service.model.ids", "from service import live", "imports service.live"),
        ("service.model.ids", "def f():\n    import asyncio", "imports asyncio"),
        ("service.model.ids", "from ..live import reloader", "imports ..live.reloader"),
        ("service.live.reloader", "from service.api import app", "imports service.api.app"),
        ("service.live.reloader", "from service.app import create_app", "imports service.app.create_app"),
        (
            "service.api.handlers.users",
            "from service.live.watcher import Watcher",
            "imports service.live.watcher.Watcher",
        ),
        ("service.api.routing", "from service.settings import Settings", "imports service.settings.Settings"),
        ("service.training.als", "from service.live import reloader", "imports service.live.reloader"),
        ("service.app", "from service.training.als import train", "imports service.training.als.train"),
        ("service.app", "from service.cli.main import main", "imports service.cli.main.main"),
        ("service.cli.models", "import service.training.recipe", "imports service.training.recipe"),
        (
            "service.live.fallback_training",
            "from service.children.training import work",
            "imports service.children.training.work",
        ),
        ("service.live.importing", "import service.children.importing", "imports service.children.importing"),
        ("service.children.importing", "import service.training.als", "imports service.training.als"),
        ("service.model.scoring.scoring", "import implicit", "imports implicit"),
        ("service.model.scoring.scoring", "from implicit.als import Model", "imports implicit.als.Model"),
        ("service.model.scoring.scoring", "from implicit.cpu.topk import topk", "imports implicit.cpu.topk.topk"),
        ("service.model.storage.snapshot", "import pickle", "imports pickle"),
        (
            "service.model.scoring.costs",
            "from service.model.storage import shelf",
            "imports service.model.storage.shelf",
        ),
        ("service.model.formats.npz", "import service.model.validation", "imports service.model.validation"),
        ("service.live.importing", "import os\nos.environ.get('X')", "touches the environment"),
        ("service.live.importing", "from os import getenv", "touches the environment"),
        ("service.live.importing", "import os\nos.environ.setdefault('X', '1')", "touches the environment"),
    ],
)
def test_a_wrong_import_is_found(module: str, statement: str, complaint: str) -> None:
    """The rules above do catch what they are for."""
    assert violations(module, statement) == [f"{module} {complaint}"]


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("service", "import os\nos.environ.setdefault('OPENBLAS_NUM_THREADS', '1')"),
        ("service.environment", "import os\nos.environ['X']"),
        ("service.training.als", "from implicit.cpu.als import AlternatingLeastSquares"),
        ("service.model.formats.pickle", "import pickle"),
        ("service.model.storage.snapshot", "from service.model.scoring.costs import QueryCosts"),
        ("service.model.scoring.costs", "from service.model.scoring import scoring"),
        ("service.api.context", "from service.live.generation import Generation"),
        ("service.live.fallback_training", "from service.children.jobs import TrainingJob"),
        ("service.cli.demo", "from service.training.sample import write_sample"),
    ],
)
def test_a_right_import_is_let_be(module: str, statement: str) -> None:
    """The rules above do not forbid what is meant to be."""
    assert violations(module, statement) == []


@pytest.mark.parametrize(("module", "path"), modules().items(), ids=modules())
def test_intervals_do_not_depend_on_the_wall_clock(module: str, path: Path) -> None:
    """It may jump; only dates are taken from it: that of an answer, and the order of use on disk."""
    used = re.findall(
        r"\btime\.time(?:_ns)?\(|^from time import .*\btime\b", path.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert not used or module in {"service.api.sending", "service.model.storage.shelf"}
