"""The package: what `make build` makes holds all that runs, and runs where nothing but its dependencies is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import urllib.request
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import service
from tests.support import ROOT
from tests.support.waiting import until

NEEDED = ["LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.py"]
LAUNCHER = Path("ops/install/bin/als-serve")
FILES = {
    str(path.relative_to(ROOT))
    for path in (ROOT / "service").rglob("*")
    if path.is_file() and path.parent.name != "__pycache__" and path.suffix != ".so"
}
SOURCES = {name for name in FILES if name.endswith(".c")}
LIBRARIES = {"service/model/scoring/_scan.so"}


def variables() -> dict[str, str]:
    """Return the environment without what this test run, or a person, has set for Python and for servers."""
    return {name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE_", "ALS_"))}


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a program that must succeed; return what it prints."""
    done = subprocess.run(command, cwd=cwd, env=variables() | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory with what `make build` makes, from a copy: no other test sees the source tree change."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("Makefile", "tests/test_docs.py", *NEEDED, str(LAUNCHER), *FILES):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    installed = f"{sys.prefix}/requirements-dev.installed"
    run("make", "build", f"VENV={sys.prefix}", f"--assume-old={installed}", cwd=copy)
    return copy / "dist"


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    """Return the wheel."""
    (found,) = dist.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a new virtual environment in which the wheel is installed."""
    made = new_environment(tmp_path_factory)
    run(*pip_of(made), "install", "--no-index", "--no-deps", wheel, cwd=made)
    return made


@pytest.fixture(scope="module")
def without_compiler(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a new virtual environment in which the sdist was built and installed where no compiler works."""
    made = new_environment(tmp_path_factory)
    (sdist,) = dist.glob("*.tar.gz")
    run(*pip_of(made), "install", "--no-index", "--no-deps", "--no-build-isolation", sdist, cwd=made, CC="false")
    return made


def pip_of(environment: Path) -> tuple[str | Path, ...]:
    """Return the command that installs into an environment."""
    return sys.executable, "-m", "pip", "--python", environment / "bin/python", "--disable-pip-version-check"


def new_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a virtual environment that has the dependencies of this one, and nothing of ours."""
    made = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", made, cwd=made)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(made)}))
    # Python reads no .pth file of a directory that a .pth file names: the editable install here stays unseen.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return made


def metadata(wheel: Path) -> dict[str, str]:
    """Return the fields of a wheel's METADATA that occur once."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return dict(Parser().parsestr(archive.read(name).decode()))


def test_the_wheel_has_every_file_of_the_package_and_the_command(wheel: Path) -> None:
    """Modules, pages, ``py.typed`` and the launcher as it is; no tests, and nothing besides."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {
            name: archive.read(name)
            for name in archive.namelist()
            if ".dist-info/" not in name and not name.endswith("/")
        }
    scripts = {name: packed.pop(name) for name in list(packed) if ".data/scripts/" in name}
    assert packed.keys() == FILES - SOURCES | LIBRARIES
    assert "service/py.typed" in FILES
    assert list(scripts.values()) == [(ROOT / LAUNCHER).read_bytes()]


def test_the_sdist_has_what_the_wheel_is_built_from(dist: Path) -> None:
    """The sources and the launcher, readme and licence; none of the tests, which need more than fits in there."""
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        packed = {member.name.partition("/")[2] for member in archive if member.isfile()}
    made = {"PKG-INFO", "setup.cfg", *(name for name in packed if name.startswith("als_serve.egg-info/"))}
    assert packed - made == {*FILES, *NEEDED, str(LAUNCHER)}


def test_the_package_invents_nobody(wheel: Path) -> None:
    """Its licence and the Pythons it runs on are named; an author, an address or a site that we do not know is not."""
    described = metadata(wheel)
    assert (described["License-Expression"], described["Requires-Python"]) == ("MIT", ">=3.11")
    assert (
        not {"Author", "Author-email", "Maintainer", "Maintainer-email", "Home-page", "Project-URL"} & described.keys()
    )


def test_there_is_one_version(wheel: Path) -> None:
    """What is installed has the number that the code has, and the newest release in the changelog has it too."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d\S*)\] - \d{4}-\d\d-\d\d$", changelog, re.MULTILINE)
    assert metadata(wheel)["Version"] == service.__version__ == released[0]


def test_the_image_is_labelled_with_the_version() -> None:
    """`make image` takes it from the code, for the image's tag and for its label."""
    command = run("make", "--dry-run", "image", cwd=ROOT)
    assert f"--label org.opencontainers.image.version={service.__version__} " in command
    assert f"--tag als-serve:{service.__version__} ." in command


def test_the_wheel_is_one_for_all_of_linux(wheel: Path) -> None:
    """Its library needs no other, is of no one Python, and loads on systems far older than ours."""
    assert re.search(r"-py3-none-manylinux\d+_x86_64\.|-py3-none-manylinux_\d+_\d+_", wheel.name)


@pytest.mark.parametrize(("made", "kernel"), [("environment", "int8"), ("without_compiler", "numpy")])
def test_a_compiler_is_wanted_not_needed(made: str, kernel: str, request: pytest.FixtureRequest) -> None:
    """The wheel has the kernel; built where no compiler works, the package installs all the same, and NumPy scans."""
    python: Path = request.getfixturevalue(made) / "bin/python"
    asked = "from service.model.scoring import kernel; print(kernel.name())"
    assert run(python, "-I", "-c", asked, cwd=python.parent) == f"{kernel}\n"


def test_the_installed_wheel_is_what_runs(environment: Path, tmp_path: Path) -> None:
    """In the new environment ``service`` is the wheel's, with its pages, and the command says its version."""
    found = run(environment / "bin/python", "-I", "-c", "import service; print(service.__file__)", cwd=tmp_path)
    assert Path(found.strip()).is_relative_to(environment)
    assert (
        run(environment / "bin/als-serve", "--version", cwd=tmp_path) == f"als-serve, version {service.__version__}\n"
    )


@pytest.mark.parametrize("made", ["environment", "without_compiler"])
def test_the_demo_runs_from_the_package(made: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """From nothing but the installed package, with the kernel or without: it trains, serves, recommends, and ends."""
    said = tmp_path / "said"
    command = (request.getfixturevalue(made) / "bin/als-serve", "demo", "--port=0")
    with (
        said.open("w") as log,
        subprocess.Popen(command, cwd=tmp_path, env=variables(), stdout=log, stderr=log) as demo,
    ):
        try:
            until(lambda: "Ctrl+C stops it." in said.read_text() or demo.poll() is not None, said.read_text, 120)
            (url,) = re.findall(r"curl '(\S*/recommendations\?n=5)'", said.read_text())
            with urllib.request.urlopen(url, timeout=30) as answer:
                assert len(json.load(answer)["items"]) == 5
        finally:
            demo.terminate()
        assert demo.wait(60) == 0
    assert (tmp_path / "demo-shop/als_model.npz").is_file()


def test_a_commit_is_checked_by_the_locked_versions() -> None:
    """Each pre-commit hook runs a program of .venv, so that no second place says which version."""
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert set(re.findall(r"repo: (.*)", hooks)) == {"local"}
    programs = re.findall(r"entry: \.venv/bin/(\w+)", hooks)
    assert len(programs) == hooks.count("- id:") == hooks.count("language: system")
    locked = (ROOT / "requirements-dev.lock").read_text()
    assert [program for program in programs if f"\n{program}==" not in locked] == []
