"""The forms of eligible rows: None for all, a mask of many, a list of few."""

from __future__ import annotations

import numpy as np

from service.model.factors import Int32
from service.model.scoring.ranking import Eligible, Mask, are_eligible

# The kernel scans a list of rows sooner than a mask where up to some two thirds of the items are eligible.
_LISTED_SHARE = 0.6


def compact(mask: Mask) -> Eligible | None:
    """Return a mask in the form that is scanned soonest."""
    count = np.count_nonzero(mask)
    if count == len(mask):
        return None
    if count > _LISTED_SHARE * len(mask):
        return mask
    listed = np.flatnonzero(mask).astype(np.int32)
    listed.setflags(write=False)  # so that whatever scans it can keep what it needs
    return listed


def among(rows: Int32, eligible: Eligible | None) -> Int32:
    """Return those of ``rows`` (ascending, no repeats) that are eligible."""
    if eligible is None:
        return rows
    return rows[are_eligible(rows, eligible)]
