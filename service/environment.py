"""The environment: which variables are refused or passed over, and what children inherit."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import fields

from service.errors import SettingsError
from service.settings import Settings, variable

#: Variables that the import process inherits: how to find Python and encode text, no secrets.
_CHILD_VARIABLES = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "TMPDIR")

_LINK = re.compile(r"(tcp|udp|sctp)://\S+")
_NUMBER, _ADDRESS, _PROTOCOL = re.compile(r"\d{1,5}"), re.compile(r"[0-9a-fA-F.:]+"), re.compile("tcp|udp|sctp")
#: Names of service links (after the service's own name), and their values; a port with a number could be a typo.
_LINKS = tuple(
    (re.compile(rf"ALS_(\w+_)?{name}"), value)
    for name, value in {
        "PORT": _LINK,
        # Docker's links of a range of ports have a start and an end.
        r"PORT_\d+_(TCP|UDP|SCTP)(_START|_END)?": _LINK,
        r"PORT_\d+_(TCP|UDP|SCTP)_ADDR": _ADDRESS,
        r"PORT_\d+_(TCP|UDP|SCTP)_PORT(_START|_END)?": _NUMBER,
        r"PORT_\d+_(TCP|UDP|SCTP)_PROTO": _PROTOCOL,
        "SERVICE_HOST": _ADDRESS,
        r"SERVICE_PORT(_\w+)?": _NUMBER,
        "NAME": re.compile(r"/[^/]+/[^/]+"),
        r"ENV_\w+": re.compile(r".*", re.DOTALL),  # whatever the linked container has in its environment
    }.items()
)
#: Variables of earlier versions, and what replaced them.
_RENAMED = {"ALS_ITEM_TITLES": "ALS_ITEMS"}
#: What als-serve admin reads, the server's address and the token, and other commands pass over.
OF_ADMIN = ("ALS_URL", "ALS_TOKEN")
_SERVING = ("serve", "demo")


def refuse_unknown_variables(command: str | None = None) -> None:
    """Raise SettingsError if the environment has an ALS_* variable that is not a setting (most likely a typo).

    Those of als-serve admin are passed over, except that a server with ALS_TOKEN is one whose tokens are not in force.
    Variables that Kubernetes and Docker set for a service whose name begins with "als" are passed over, unless one has
    the name of a setting.
    """
    known = [variable(setting.name) for setting in fields(Settings)]
    if command in _SERVING and "ALS_TOKEN" in os.environ:
        raise SettingsError(
            "ALS_TOKEN is the token that als-serve admin sends to a server; unset it for a server, whose own tokens "
            "are in the file that ALS_TOKENS_FILE names."
        )
    for name in sorted(name for name in os.environ if name.startswith("ALS_") and name not in OF_ADMIN):
        if name in _RENAMED:
            raise SettingsError(f"{name} is now called {_RENAMED[name]}, which takes the same file; rename it.")
        if name in known:
            _refuse_link(name, os.environ[name])
        elif not is_service_link(name, os.environ[name]):
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
            remedy = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}."
            raise SettingsError(f"The environment variable {name} is not a setting of als-serve; {remedy}")


def refuse_empty_variables() -> None:
    """Raise SettingsError if a setting that protects something is empty: it would count as unset.

    The server would be open to everybody, or show what it must not.
    """
    for setting in ("tokens_file", "items", "unavailable", "hidden_users"):
        if os.environ.get(variable(setting)) == "":
            raise SettingsError(f"The environment variable {variable(setting)} is empty; name a file, or unset it.")


def _refuse_link(name: str, value: str) -> None:
    if name.endswith("_PORT") and _LINK.fullmatch(value):
        service = name.removesuffix("_PORT").lower().replace("_", "-")
        raise SettingsError(
            f"{name} is {value}, which Kubernetes sets for a service called {service} (a service link); set "
            "enableServiceLinks: false in the pod's spec, or give the service another name."
        )


def is_service_link(name: str, value: str) -> bool:
    """Return whether Kubernetes or Docker sets this variable in every container that can reach some service."""
    return any(named.fullmatch(name) and valued.fullmatch(value) for named, valued in _LINKS)


def child_environment() -> Mapping[str, str]:
    """Return the environment of a process that reads untrusted bytes: no secrets, no Python options."""
    kept = {name: os.environ[name] for name in os.environ if name in _CHILD_VARIABLES}
    return kept | {"OPENBLAS_NUM_THREADS": "1"}
