"""Modules that must never be imported, in directories where Python would look for them first."""

from __future__ import annotations

from pathlib import Path

#: What our own code imports early, what it imports late, and what Python imports before either.
LIBRARIES = ("msgspec", "numpy", "json", "click", "pyarrow", "implicit", "encodings")
WHOLE = (*LIBRARIES, "service", "sitecustomize", "usercustomize")


def poison(directory: Path, *, names: tuple[str, ...] = WHOLE, marker: str = "executed") -> Path:
    """Put the modules into a directory, as files and as packages; return the file in it that each would write."""
    executed = directory / marker
    # Beside itself, wherever a container has mounted it.
    code = f"import os\nopen(os.path.join({{up}}, {marker!r}), 'a').write(__file__ + '\\n')\nraise SystemExit(3)\n"
    for name in names:
        (directory / f"{name}.py").write_text(code.format(up="os.path.dirname(os.path.abspath(__file__))"))
    if "service" in names:
        (directory / "service").mkdir()
        for module in ("__init__", "__main__", "cli"):
            up = "os.path.dirname(os.path.dirname(os.path.abspath(__file__)))"
            (directory / "service" / f"{module}.py").write_text(code.format(up=up))
    return executed
