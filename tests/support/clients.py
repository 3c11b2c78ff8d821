"""Clients of the API that others' generators make from the OpenAPI document, and programs that call them."""

from __future__ import annotations

import builtins
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

#: What the generated clients send as the id of each request, so that problems are equal, too.
REQUEST_ID = "from-a-generated-client"
_BIN = Path(sys.prefix) / "bin"
_TYPESCRIPT = Path(__file__).parent / "typescript"
_MODULES = Path(sys.prefix) / "typescript/node_modules"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an operation, with the parameters of its path and its query, or a body, and the answer's status."""

    operation: str
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, object] = field(default_factory=dict)
    body: Mapping[str, object] | None = None
    status: int = 200


@dataclass(frozen=True, slots=True)
class Operation:
    """What the document says of one operation."""

    method: str
    path: str
    described: Mapping[str, Any]

    def answer(self, status: int) -> str:
        """Return the name of the schema of the answer with this status."""
        (content,) = self.described["responses"][str(status)]["content"].values()
        return _name_of(content["schema"])

    @property
    def body(self) -> str:
        """Return the name of the schema of the body, empty if there is none."""
        body = self.described.get("requestBody")
        return _name_of(body["content"]["application/json"]["schema"]) if body else ""

    @property
    def query(self) -> dict[str, Any]:
        """Return the schemas of the parameters in the query, by name."""
        return {known["name"]: known["schema"] for known in self.described["parameters"] if known["in"] == "query"}

    @property
    def gives_json(self) -> bool:
        """Return whether the answer is one of the API's, and not a page or a text."""
        return "$ref" in self.described["responses"]["200"]["content"].get("application/json", {}).get("schema", {})

    def url(self, call: Call) -> str:
        """Return the path and query of a call."""
        path = self.path.format_map({name: quote(text, safe="") for name, text in call.path.items()})
        values = {name: str(v).lower() if isinstance(v, bool) else v for name, v in call.query.items()}
        return f"{path}?{urlencode(values, doseq=True)}" if values else path


def operations_of(document: Mapping[str, Any]) -> dict[str, Operation]:
    """Return the operations by their ids."""
    return {
        described["operationId"]: Operation(method.upper(), path, described)
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    }


def generate_python(document: Path, directory: Path) -> None:
    """Generate the package ``als_client``; fails if openapi-python-client says anything but that it is generating."""
    command = (_BIN / "openapi-python-client", "generate", "--path", document, "--meta", "none")
    said = run(*command, "--output-path", directory / "als_client", cwd=directory)
    assert said == f"Generating {directory / 'als_client'}\n"


def generate_typescript(document: Path, directory: Path) -> None:
    """Generate the types ``schema.d.ts``; fails if openapi-typescript says anything but that it has written them."""
    assert _MODULES.is_dir(), f"There is nothing at {_MODULES}; `make test` installs it once."
    (directory / "node_modules").symlink_to(_MODULES)
    for name in ("package.json", "tsconfig.json"):
        shutil.copy(_TYPESCRIPT / name, directory)
    said = _node(_MODULES / "openapi-typescript/bin/cli.js", document, "-o", "schema.d.ts", cwd=directory)
    assert [line for line in said.splitlines() if not re.match(r"✨ |🚀 |$", line)] == []


def call_from_python(document: Mapping[str, Any], calls: Sequence[Call], url: str, token: str, directory: Path) -> Any:
    """Return the answers to the calls of a program in Python, once mypy has found nothing in it and in the client."""
    (directory / "program.py").write_text("\n".join(_python(operations_of(document), calls, url, token)))
    checked = ("program.py", "als_client/api", "als_client/models")
    # The rest of the package is the same for every document.
    options = ("--strict", "--follow-imports=silent", "--config-file=", "--cache-dir=.mypy")
    run(_BIN / "mypy", *options, *checked, cwd=directory)
    return json.loads(run(sys.executable, "-W", "error", "program.py", cwd=directory))


def call_from_typescript(
    document: Mapping[str, Any], calls: Sequence[Call], url: str, token: str, directory: Path
) -> Any:
    """Return the answers to the calls of a program in TypeScript, once its compiler has found nothing in it."""
    (directory / "program.ts").write_text("\n".join(_typescript(operations_of(document), calls, url, token)))
    _node(_MODULES / "typescript/bin/tsc", "--project", ".", cwd=directory)
    return json.loads(_node("program.js", cwd=directory))


def run(*command: str | Path, cwd: Path) -> str:
    """Run a program that must succeed; return what it prints."""
    path = f"{_BIN}:{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def _node(*command: str | Path, cwd: Path) -> str:
    return run(_BIN / "node", *command, cwd=cwd)


def _name_of(schema: Mapping[str, str]) -> str:
    return schema["$ref"].rpartition("/")[2]


def _python(operations: Mapping[str, Operation], calls: Sequence[Call], url: str, token: str) -> Iterator[str]:
    yield "import json"
    yield "from als_client import AuthenticatedClient, models"
    for tag, name in sorted({(operations[call.operation].described["tags"][0], call.operation) for call in calls}):
        yield f"from als_client.api.{tag.lower()} import {name}"
    yield f"client = AuthenticatedClient(base_url={url!r}, token={token!r})"
    for place, call in enumerate(calls):
        operation = operations[call.operation]
        given = {name: repr(text) for name, text in call.path.items()}
        given |= {_safe(name): _python_value(call, name, v, operation.query[name]) for name, v in call.query.items()}
        if call.body is not None:
            given["body"] = f"models.{operation.body}.from_dict({dict(call.body)!r})"
        arguments = "".join(f", {name}={text}" for name, text in given.items())
        yield f"answer_{place} = {call.operation}.sync(client=client, x_request_id={REQUEST_ID!r}{arguments})"
        yield f"assert isinstance(answer_{place}, models.{operation.answer(call.status)}), answer_{place}"
    yield "client.get_httpx_client().close()"
    yield f"print(json.dumps([{', '.join(f'answer_{place}.to_dict()' for place in range(len(calls)))}]))"


def _python_value(call: Call, name: str, value: object, schema: Mapping[str, Any]) -> str:
    if "enum" not in schema:
        return repr(value)
    return f"models.{_pascal(call.operation)}{_pascal(name)}({value!r})"


def _safe(name: str) -> str:
    """Return the name of an argument: openapi-python-client hides no function of Python's."""
    return f"{name}_" if hasattr(builtins, name) else name


def _pascal(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _typescript(operations: Mapping[str, Operation], calls: Sequence[Call], url: str, token: str) -> Iterator[str]:
    yield 'import createClient from "openapi-fetch";'
    yield 'import type { components, paths } from "./schema.js";'
    yield f'const headers = {{ Authorization: "Bearer {token}" }};'
    yield f"const client = createClient<paths>({{ baseUrl: {json.dumps(url)}, headers }});"
    yield "const answers: unknown[] = [];"
    for call in calls:
        operation = operations[call.operation]
        params = {"path": dict(call.path), "query": dict(call.query), "header": {"X-Request-Id": REQUEST_ID}}
        asked: dict[str, object] = {"params": {place: values for place, values in params.items() if values}}
        if call.body is not None:
            asked["body"] = dict(call.body)
        yield "{"
        yield f"  const answer = await client.{operation.method}({json.dumps(operation.path)}, {json.dumps(asked)});"
        part = "data" if call.status == 200 else "error"
        yield f'  const typed: components["schemas"]["{operation.answer(call.status)}"] | undefined = answer.{part};'
        yield f"  if (typed === undefined || answer.response.status !== {call.status}) throw answer;"
        yield "  answers.push(typed);"
        yield "}"
    yield "console.log(JSON.stringify(answers));"
