"""What a conversion makes a model file of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: Callback: phase, steps done, and all.
Report = Callable[[str, int, int], object]


@dataclass(frozen=True, slots=True)
class Conversion:
    """A directory of Spark, what else belongs to the model, and the two parameters that Spark does not save with it."""

    model: Path
    seen: Path | None = None
    user_labels: Path | None = None
    item_labels: Path | None = None
    alpha: float = 1.0
    reg_param: float = 0.1

    def absolute(self) -> Conversion:
        """Return this conversion with absolute paths, for a process with another working directory."""
        seen, users, items = (path and path.absolute() for path in (self.seen, self.user_labels, self.item_labels))
        return Conversion(self.model.absolute(), seen, users, items, self.alpha, self.reg_param)
