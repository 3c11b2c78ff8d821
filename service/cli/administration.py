"""The command admin: asks a running server which versions it has, and to serve another one."""

from __future__ import annotations

import http.client
import math
import re
import ssl
from collections.abc import Callable
from contextlib import closing
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import msgspec
from rich import box
from rich.table import Column, Table

from service.cli.models import print_table
from service.errors import AdministrationError
from service.live.commands import KeptVersions

_SECONDS = 60.0
_WHOLE = 16
_WORD = re.compile(r"[!-~]+")
_NOT_ADMINISTERED = (
    "it has no administration there. Start it with --tokens-file and a token for the scope admin, which als-serve "
    "token NAME --scope admin makes; if it has a management port, name that."
)
_versions = msgspec.json.Decoder(KeptVersions)


class _Problem(msgspec.Struct):
    code: str
    detail: str


_problem = msgspec.json.Decoder(_Problem)


def asking(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options for the server's address and the token to a command, which gets an ``ask``."""

    @click.option(
        "--url",
        envvar="ALS_URL",
        show_envvar=True,
        default="http://127.0.0.1:8080",
        show_default=True,
        help="The server's address; its management port, if it has one.",
    )
    @click.option("--token-file", type=click.Path(path_type=Path), help="A file with the token, instead of ALS_TOKEN.")
    @click.option("--token", envvar="ALS_TOKEN", show_envvar=True, hidden=True)
    @wraps(command)
    def asked(url: str, token_file: Path | None, token: str | None, **options: Any) -> None:
        command(Server(url, _token(token_file, token)), **options)

    return asked


class Server:
    """A running server, asked with a token."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._token = token

    def ask(self, method: str, what: str, **body: object) -> KeptVersions:
        """Send one request to /v1/admin/. Raises AdministrationError."""
        status, answer = self._answer(method, what, msgspec.json.encode(body) if method != "GET" else None)
        try:
            if status == http.client.OK:
                return _versions.decode(answer)
            problem = _problem.decode(answer)
            detail = _NOT_ADMINISTERED if problem.code == "no_such_path" else problem.detail
        except (msgspec.MsgspecError, UnicodeDecodeError):
            detail = "what answers there is not als-serve."
        raise AdministrationError(f"{self._url} answered with {status}: {detail}")

    def whole(self, version: str) -> str:
        """Return the one kept version that begins like this. Raises AdministrationError."""
        if len(version) == _WHOLE:
            return version
        kept = [each.model_version for each in self.ask("GET", "versions").versions]
        found = [each for each in kept if version and each.startswith(version)]
        if len(found) != 1:
            which = f"{len(found)} kept versions begin" if found else "No kept version begins"
            raise AdministrationError(f"{which} with {version[:80]!r}; kept: {', '.join(kept) or 'none'}.")
        return found[0]

    def _answer(self, method: str, what: str, body: bytes | None) -> tuple[int, bytes]:
        try:
            connection, path = self._connection()
            headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
            # No redirect is followed, and no proxy asked: neither needs to see the token.
            with closing(connection):
                connection.request(method, f"{path}/v1/admin/{what}", body, headers)
                answered = connection.getresponse()
                return answered.status, answered.read()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise AdministrationError(f"{self._url} does not answer ({error}); name the server with --url.") from None

    def _connection(self) -> tuple[http.client.HTTPConnection, str]:
        place = urlsplit(self._url)
        if place.scheme not in ("http", "https") or not place.hostname:
            raise ValueError("it is not an address such as http://127.0.0.1:8080")
        if place.scheme == "http":
            return http.client.HTTPConnection(place.hostname, place.port, timeout=_SECONDS), place.path
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(place.hostname, place.port, timeout=_SECONDS, context=context), place.path


def _token(file: Path | None, token: str | None) -> str:
    try:
        found = file.read_text(encoding="ascii").strip() if file else token
    except (OSError, UnicodeError) as error:
        raise AdministrationError(f"{file} cannot be read ({error}); it needs the token and nothing else.") from None
    if not found:
        raise AdministrationError("There is no token; set ALS_TOKEN, or name a file that has it with --token-file.")
    if not _WORD.fullmatch(found):  # never quoted: a token may be among it
        raise AdministrationError(
            f"{file or 'ALS_TOKEN'} has other text than one token; it needs that and nothing else."
        )
    return found


@click.group()
def admin() -> None:
    """Administer a running server: list versions, pin, roll back.

    The server needs a file of tokens (ALS_TOKENS_FILE), and you a token of it with the scope admin, in the variable
    ALS_TOKEN or in a file. The first digits of a version are enough. Each command prints the versions that the server
    keeps.
    """


@admin.command()
@asking
def versions(server: Server) -> None:
    """List the kept versions."""
    _show(server.ask("GET", "versions"))


@admin.command()
@asking
def reload(server: Server) -> None:
    """Have the server look at the paths of the model and of the candidate, and at S3, now."""
    _show(server.ask("POST", "reload"))


@admin.command()
@click.argument("version")
@asking
def pin(server: Server, version: str) -> None:
    """Serve VERSION, and take no other one until it is unpinned."""
    _show(server.ask("PUT", "pin", model_version=server.whole(version)))


@admin.command()
@asking
def unpin(server: Server) -> None:
    """Take new models again."""
    _show(server.ask("DELETE", "pin"))


@admin.command()
@click.argument("version", required=False)
@asking
def rollback(server: Server, version: str | None) -> None:
    """Serve VERSION, by default the one before the newest, and quarantine the one that is served."""
    _show(server.ask("POST", "rollback", **({"model_version": server.whole(version)} if version else {})))


@admin.command()
@click.argument("version")
@asking
def accept(server: Server, version: str) -> None:
    """Let VERSION in although a gate blocks it or it is quarantined."""
    _show(server.ask("POST", "accept", model_version=server.whole(version)))


@admin.command()
@click.argument("percent", type=click.FloatRange(0, 100), required=False)
@asking
def candidate(server: Server, percent: float | None) -> None:
    """Give the candidate to PERCENT of the users; without it, leave that to the server's settings."""
    if percent is not None and math.isnan(percent):  # which no range leaves out
        raise click.BadParameter("nan is not a percentage.", param_hint="PERCENT")
    _show(server.ask("PUT", "candidate", percent=percent))


def _show(found: KeptVersions) -> None:
    table = Table(*[Column(name, no_wrap=True) for name in ("", "version", "last used", "")], box=box.SIMPLE)
    for kept in found.versions:
        notes = {"pinned": kept.pinned, "accepted": kept.accepted, "quarantined": kept.quarantined}
        notes |= {"never served": not kept.was_served}
        used = kept.last_used_at.isoformat(sep=" ", timespec="seconds")
        remarks = ", ".join(note for note, holds in notes.items() if holds)
        table.add_row("▶" if kept.served else "", kept.model_version, used, remarks)
    print_table(table)
    facts = {"Served": found.served or "none", "pinned": found.pinned, "candidate": found.candidate}
    click.echo(", ".join(f"{name}: {fact}" for name, fact in facts.items() if fact))
    percent = f"{found.candidate_percent:g}% of users get"
    click.echo(f"{percent} the candidate" if found.candidate else f"There is no candidate; {percent} one once there is")
