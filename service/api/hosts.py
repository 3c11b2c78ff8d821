"""The host names by which clients may address the server, if they are limited.

A web page can make its own host name resolve to this server's address (DNS rebinding), and its visitor's browser then
lets it read every answer. The browser still sends that name in the Host header.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from aiohttp import hdrs, web

from service.errors import MisdirectedError

Check = Callable[[web.BaseRequest], None]

#: Probes and scrapers address the server by whatever address they know, and learn no ids and no scores.
EXEMPT = frozenset({"/healthz", "/readyz", "/metrics"})

_HOST = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::\d*)?")
#: Host headers whose answer is remembered; browsers and gateways send few.
_REMEMBERED = 64


def host_check(allowed: str | None, route: str) -> Check | None:
    """Return what raises MisdirectedError for a request to another host than the allowed ones, None if any may be.

    ``allowed``: names or addresses, separated by commas.
    """
    if allowed is None or route in EXEMPT:
        return None
    names = frozenset(name.strip().lower() for name in allowed.split(","))

    def check(request: web.BaseRequest) -> None:
        if not _is_one_of(names, request.headers.get(hdrs.HOST, "")):
            raise MisdirectedError("The Host header names another host; add it to ALS_ALLOWED_HOSTS if it is this one.")

    return check


@lru_cache(_REMEMBERED)
def _is_one_of(names: frozenset[str], header: str) -> bool:
    found = _HOST.fullmatch(header)
    return found is not None and found[1].lower().removesuffix(".") in names
