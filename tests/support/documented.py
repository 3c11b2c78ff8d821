"""A model of the users and items that the document's examples name, so that its examples find something."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from service.api.openapi import examples
from tests.support.helpers import model_bytes
from tests.support.models import make_factors


def documented_model() -> bytes:
    """Return an npz model file."""
    made = make_factors(users=30, items=40, ids="str", pairs=300)
    made.user_ids[0] = examples.USER.encode()
    items = [examples.ITEM, *examples.IDS]
    ids = np.array([*(item.encode() for item in items), *made.item_ids[len(items) :]])
    return model_bytes(factors=replace(made, item_ids=ids))
