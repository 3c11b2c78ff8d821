"""Tables of two models next to each other: their sizes, what gates find, and whose recommendations change most."""

from __future__ import annotations

from collections.abc import Sequence

import click
import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from service.cli.models import plain, print_table
from service.live.report import GateResult
from service.model.factors import Id
from service.model.model import Model
from service.model.rollout.gates import share_of_own
from service.model.rollout.overlap import TOP, overlap
from service.model.scoring import scoring
from service.model.storage.snapshot import Snapshot

#: How many users are shown, and how many items of each list.
_USERS, _ITEMS = 10, 3


def sizes(new: Snapshot, current: Snapshot) -> Table:
    """Build a table with a row for each number and a column for each model."""
    table = Table("", "new", "current", title="Next to the current model", title_justify="left", box=box.SIMPLE)
    for name, mine, theirs in zip(_facts(new), _facts(new).values(), _facts(current).values(), strict=True):
        table.add_row(name, mine, theirs)
    return table


def gate_table(results: Sequence[GateResult]) -> Table:
    """Build a table of what each gate found."""
    columns = ("gate", "result", "value", "limit", "why")
    table = Table(*columns, title="Gates", title_justify="left", box=box.SIMPLE)
    for found in results:
        numbers = ("" if number is None else f"{number:.4g}" for number in (found.value, found.limit))
        table.add_row(found.gate, found.result, *numbers, plain(found.detail))
    return table


def show_changes(new: Snapshot, current: Snapshot) -> None:
    """Print the overlap of the top 10, and the users whose lists change most."""
    found = overlap(new.model, current.model)
    if not found.users:
        click.echo("👥 The models have no user in common to whom they recommend anything")
        return
    click.echo(f"👥 The top {TOP} of {len(found.users)} users have {found.mean:.0%} in common, on average")
    table = Table("user", "in common", "new", "current", title="Changed most", title_justify="left", box=box.SIMPLE)
    for place in np.argsort(found.shares, kind="stable")[:_USERS].tolist():
        user = found.users[place]
        lists = (_best(snapshot.model, user) for snapshot in (new, current))
        table.add_row(plain(str(user)), f"{found.shares[place]:.0%}", *lists)
    print_table(table)


def _facts(snapshot: Snapshot) -> dict[str, str]:
    manifest, model, scores = snapshot.manifest, snapshot.model, snapshot.manifest.scores.recommendation
    return {
        "version": snapshot.version,
        "users": str(manifest.users),
        "items": str(manifest.items),
        "factors": str(manifest.factors),
        "seen pairs": "unknown" if manifest.seen_pairs is None else str(manifest.seen_pairs),
        "users with factors of their own": f"{share_of_own(model.user_factors):.0%}",
        "items with factors of their own": f"{share_of_own(model.item_factors):.0%}",
        "scores of recommendations (p1 to p99)": f"{scores.p1:.4g} to {scores.p99:.4g}",
    }


def _best(model: Model, user: Id) -> Text:
    """Return the first items of a user's list, one a line, so that the table is not wider than a terminal."""
    row = model.user_ids.row(user)
    assert row is not None  # the user is in both models
    items = model.item_ids.at(scoring.recommend(model, row, _ITEMS).rows)
    return Text("\n").join(plain(str(item)) for item in items)
