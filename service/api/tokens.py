"""The check of a request's token, before its handler is called."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from functools import wraps
from typing import NoReturn

from aiohttp import hdrs, web

from service.api.context import Context, Handler, Ids
from service.errors import InsufficientScopeError, InvalidTokenError, NoTokenError
from service.observe.metrics import Metrics
from service.tokens import ANONYMOUS, OTHER, UNKNOWN, Scope, Token, Tokens, digest_of

#: How many spellings of Authorization headers are remembered; each belongs to a known token.
_MOST_HEADERS = 1024
#: How many names get series of their own while the process runs, because series are never removed.
_MOST_NAMES = 500


class Holder:
    """The holder of a token, or everybody without one: the name, the scopes, and counts of requests."""

    __slots__ = ("admitted", "name", "refused", "scopes")

    def __init__(self, name: str, scopes: Iterable[Scope], metrics: Metrics, label: str) -> None:
        self.name = name
        self.scopes = frozenset(scopes)
        self.admitted = metrics.token_requests.labels(label, "admitted")
        self.refused = metrics.token_requests.labels(label, "refused")


class Access:
    """Admits requests by their tokens.

    A token is looked up by its sha256. How long that takes depends only on digests, from which no token can be
    computed. A header that was found is remembered; looking it up compares hashes under this process's secret key, so
    its time does not show how much of a guess is right.
    """

    def __init__(self, tokens: Tokens, metrics: Metrics) -> None:
        self._metrics = metrics
        self._names: set[str] = set()
        self.use(tokens)

    def use(self, tokens: Tokens) -> None:
        """Admit by these tokens from now on."""
        self.tokens = tokens
        holders = {token.digest: self._holder(token) for token in tokens}
        anonymous = holders.pop(None, None) or self._holder(Token(ANONYMOUS, frozenset(), None))
        self._unknown = self._holder(Token(UNKNOWN, frozenset(), None))
        self._by_digest = holders
        self._by_header: dict[str | None, Holder] = {None: anonymous}

    def admit(self, request: web.BaseRequest, scope: Scope) -> None:
        """Count the request. Raises NoTokenError, InvalidTokenError, InsufficientScopeError if it lacks the scope."""
        holder = self.holder_of(request)
        if scope not in holder.scopes:
            self._refuse(holder, scope)
        holder.admitted.inc()

    def holder_of(self, request: web.BaseRequest) -> Holder:
        """Return who sent a request."""
        header = request.headers.get(hdrs.AUTHORIZATION)
        return self._by_header.get(header) or self._found(header or "")

    def _found(self, header: str) -> Holder:
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer":  # a proxy's own credentials, for example
            return self._by_header[None]
        holder = self._by_digest.get(digest_of(token.strip()), self._unknown)
        if holder is not self._unknown and len(self._by_header) < _MOST_HEADERS:
            self._by_header[header] = holder
        return holder

    def _refuse(self, holder: Holder, scope: Scope) -> NoReturn:
        holder.refused.inc()
        if holder is self._unknown:
            raise InvalidTokenError("The token is unknown; it may have been replaced. Ask the operator for another.")
        if holder is self._by_header[None]:
            raise NoTokenError(f"This needs a token with the scope {scope}; send it as 'Authorization: Bearer TOKEN'.")
        raise InsufficientScopeError(f"The token {holder.name} lacks the scope {scope}; use a token that has it.")

    def _holder(self, token: Token) -> Holder:
        if len(self._names) < _MOST_NAMES:
            self._names.add(token.name)
        label = token.name if token.name in self._names else OTHER
        return Holder(token.name, token.scopes, self._metrics, label)


def guarded(handler: Handler, scope: Scope | None, access: Access | None) -> Handler:
    """Return a handler that answers only requests with the scope.

    If all requests have it, that is the handler itself: a route without a scope costs nothing, and neither does any
    route of a server without tokens.
    """
    if scope is None or access is None:
        return handler
    admit = access.admit

    @wraps(handler)
    def answer(request: web.BaseRequest, context: Context, ids: Ids) -> Awaitable[web.StreamResponse]:
        admit(request, scope)
        return handler(request, context, ids)

    return answer
