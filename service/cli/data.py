"""What was read of the training data, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from numpy.typing import NDArray
from rich import box
from rich.table import Table
from rich.text import Text

from service.cli.models import plain, print_table
from service.untrusted import with_quotations

if TYPE_CHECKING:
    from service.training.interactions import Interactions


def show_data(paths: Sequence[Path], read: Interactions, *, as_json: bool = False) -> None:
    """Print what was taken from the files, and what was not; as JSON follows, only remarks, on standard error."""
    if not as_json:
        click.echo(f"📚 Read {', '.join(map(str, paths))}")
        print_table(_table(read))
    for sentence in read.account.sentences():
        click.echo(f"⚠️ {plain(sentence)}", err=as_json)


def _table(read: Interactions) -> Table:
    account = read.account
    table = Table(box=box.SIMPLE, show_header=False)
    facts = {
        "rows": str(read.rows),
        "users": _counted(read.user_ids),
        "items": _counted(read.item_ids),
        "pairs": str(read.weights.nnz),
        "columns": "\n".join(account.columns),
        "left out": _left_out(read),
    }
    for name, fact in facts.items():
        table.add_row(name, Text("\n").join(map(plain, fact.split("\n"))))
    return table


def _counted(ids: NDArray[Any]) -> str:
    return f"{len(ids)} ({'text' if ids.dtype.kind == 'U' else 'number'} ids)"


def _left_out(read: Interactions) -> str:
    account = read.account
    reasons = [f"{count} rows: {reason}" for reason, count in account.left_out.most_common()]
    return "\n".join([*reasons, f"the first: {with_quotations(account.first)}"]) if reasons else "nothing"
