"""Handlers for the pages and their files, which ``static`` has read at the start."""

from __future__ import annotations

from aiohttp import web

from service.api.context import Question
from service.api.parameters import Anything, Options


async def explorer(question: Question[None, Anything]) -> web.Response:
    """Show the explorer.

    A page for browsing users, items and the model. It loads nothing from other hosts.
    """
    return _answer(question)


async def explorer_file(question: Question[None, Anything]) -> web.Response:
    """Get a file of the explorer."""
    return _answer(question)


async def document(question: Question[None, Options]) -> web.Response:
    """Get this OpenAPI document.

    It is generated from the types that parse requests and encode answers, with this server's limits.
    """
    return _answer(question)


async def reference(question: Question[None, Options]) -> web.Response:
    """Show this document as a page.

    In Swagger UI, which can also send requests to this server. It loads nothing from other hosts.
    """
    return _answer(question)


async def reference_file(question: Question[None, Options]) -> web.Response:
    """Get a file of the page at /docs."""
    return _answer(question)


def _answer(question: Question[None, object]) -> web.Response:
    page = question.context.pages.get(question.request.path)
    if page is None:
        raise web.HTTPNotFound
    return page.answer(question.request)
