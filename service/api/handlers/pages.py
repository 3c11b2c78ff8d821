"""The pages for people, and what they are made of: what ``static`` read at the start."""

from __future__ import annotations

from aiohttp import web

from service.api.context import Question
from service.api.parameters import Anything, Options


async def explorer(question: Question[None, Anything]) -> web.Response:
    """Show the explorer.

    A page to look at users, items and the model. Nothing is fetched from anywhere else.
    """
    return _answer(question)


async def explorer_file(question: Question[None, Anything]) -> web.Response:
    """Give a file of the page at /."""
    return _answer(question)


async def document(question: Question[None, Options]) -> web.Response:
    """Give this document.

    It is made of the types that parse requests and encode answers, with this server's own limits.
    """
    return _answer(question)


async def reference(question: Question[None, Options]) -> web.Response:
    """Show this document to people.

    With Swagger UI, which also sends requests to this server. Nothing is fetched from anywhere else.
    """
    return _answer(question)


async def reference_file(question: Question[None, Options]) -> web.Response:
    """Give a file of the page at /docs."""
    return _answer(question)


def _answer(question: Question[None, object]) -> web.Response:
    page = question.context.pages.get(question.request.path)
    if page is None:
        raise web.HTTPNotFound
    return page.answer(question.request)
