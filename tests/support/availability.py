"""Changes of what is available, under load: every answer says which half of the items it may show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.support.helpers import put
from tests.support.load import Answer


@dataclass(frozen=True, slots=True)
class Change:
    """The even items (parity 0) or the odd ones (1) become unavailable, and the others available.

    Times are seconds on the event loop's clock: of the rename, and from when on it must count.
    """

    renamed: float
    counts: float
    parity: int


def withdraw(path: Path, items: int, parity: int) -> None:
    """Replace a list of unavailable items by one rename: every second item."""
    put(path, "".join(f"{item}\n" for item in range(parity, items, 2)).encode())


def wrongly_shown(answers: list[Answer], changes: list[Change]) -> list[Answer]:
    """Return the answers to requests that began when a change counted, and that show what it withdrew.

    Not those that met the next change before they were done.
    """
    return [
        answer
        for answer in answers
        for change, following in zip(changes, [*changes[1:], None], strict=True)
        if change.counts <= answer.due and (following is None or answer.done < following.renamed)
        if answer.status == 200 and any(entry["item_id"] % 2 == change.parity for entry in answer.body["items"])
    ]
