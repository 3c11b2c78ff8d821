"""Filters for schemathesis, for rules that JSON Schema cannot express; SCHEMATHESIS_HOOKS points here."""

from __future__ import annotations

import re
from typing import Any

import requests
import schemathesis
from hypothesis import strategies as st

#: aiohttp refuses a longer one by itself, before any code of ours runs.
LONGEST_URL = 8000
#: In a URL commas separate ids: an id with one is two, and a list of one empty id is an empty list.
VERSION = re.compile("[0-9a-f]{16}")
COMMA_IN_ID_OR_EMPTY_ID = re.compile("%2C|[=,](?:,|&|$)")

# A server without a catalog knows no attributes, so it accepts only empty ones.
schemathesis.openapi.format("filter", st.just(""))
schemathesis.openapi.format("max_per", st.just(""))


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
    """Leave out what a URL cannot say, and 10.0 for a whole number, which JSON Schema says it is."""
    sent = case.as_transport_kwargs(base_url="http://127.0.0.1:12345")
    url = requests.Request("GET", sent["url"], params=sent.get("params")).prepare().url or ""
    can_be_said = len(url) < LONGEST_URL and not COMMA_IN_ID_OR_EMPTY_ID.search(url)
    return can_be_said and not has_whole_float(case.body)


@schemathesis.hook
def map_case(context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> schemathesis.Case[Any]:
    """Name no version in most requests: what is generated is not kept, so nothing else would be tested."""
    for given, name in ((case.query, "model_version"), (case.headers, "X-Model-Version")):
        if given and VERSION.fullmatch(str(given.get(name, ""))):
            del given[name]
    return case


def has_whole_float(value: Any) -> bool:
    """Say whether a body has a number such as 10.0 where whole numbers belong."""
    if isinstance(value, dict):
        return any(has_whole_float(member) for name, member in value.items() if name != "weight")
    if isinstance(value, list):
        return any(map(has_whole_float, value))
    return isinstance(value, float) and value.is_integer()
