"""JSON is decoded by decoders made at import.

msgspec 0.22 learns a type at its first use. Two threads that do so at once crash the process.
"""

from __future__ import annotations

import ast
from pathlib import Path

import service

ROOT = Path(service.__file__).parent


def first_uses(module: str) -> list[int]:
    """Return the lines of a module that decode with a type which may be new to msgspec."""
    calls = (node for node in ast.walk(ast.parse(module)) if isinstance(node, ast.Call))
    return [
        call.lineno
        for call in calls
        if ast.unparse(call.func) in ("msgspec.json.decode", "json.decode") and typed(call)
    ]


def typed(call: ast.Call) -> bool:
    """Return whether a call names a type."""
    return any(keyword.arg == "type" for keyword in call.keywords)


def test_no_thread_is_the_first_to_use_a_type() -> None:
    """No function decodes with a type of its own, so lists, catalogs and models can be opened at the same time."""
    assert first_uses("def read(raw):\n    return msgspec.json.decode(raw, type=Row)") == [2]
    found = {str(path.relative_to(ROOT)): first_uses(path.read_text()) for path in ROOT.rglob("*.py")}
    assert {path: lines for path, lines in found.items() if lines} == {}
