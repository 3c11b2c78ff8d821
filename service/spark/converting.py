"""The conversion of a saved ALSModel to a model file, through the same validation as any other model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from service.errors import ConversionError
from service.model.conversion import Conversion, Report
from service.model.factors import Factors
from service.model.raw import RawModel, RawSeen
from service.model.validation.validation import validate
from service.spark.factors import Numbered, OnBytes, read_factors
from service.spark.job import Facts, facts_of_job, item_weights_of_job, tables_of_job
from service.spark.labels import Labels, labels_of_indexer, labels_of_tables
from service.spark.layout import SparkModel, find_model, single_indexer
from service.spark.seen import Side, read_seen
from service.spark.tree import Tree, opened_tree
from service.training.account import Account
from service.training.data_files import DataFile, files_of, held_open
from service.untrusted import with_quotations


@dataclass(frozen=True, slots=True)
class Inputs:
    """The open files of a conversion; labels are a saved StringIndexer or tables."""

    conversion: Conversion
    tree: Tree
    seen: Sequence[DataFile]
    user_labels: Tree | list[DataFile] | None
    item_labels: Tree | list[DataFile] | None
    account: Account = field(default_factory=lambda: Account(skip=True))

    @property
    def bytes(self) -> int:
        """Return the size of all files."""
        labels = [labels for labels in (self.user_labels, self.item_labels) if labels]
        listed = [list(each.files.values()) if isinstance(each, Tree) else each for each in labels]
        return sum(file.size for files in (self.tree.files.values(), self.seen, *listed) for file in files)


@contextmanager
def opened(conversion: Conversion) -> Iterator[Inputs]:
    """Open all files of a conversion for the duration of a block. Raises ConversionError, TrainingError."""
    beside = tables_of_job(conversion.model)
    tables_given: dict[str, Any] = {name: getattr(conversion, name) or path for name, path in beside.items()}
    conversion = replace(conversion, **tables_given)
    with ExitStack() as stack:

        def tables(path: Path) -> list[DataFile]:
            return stack.enter_context(held_open(files_of([path], Account())))

        def labels(path: Path | None) -> Tree | list[DataFile] | None:
            if path is None:
                return None
            return stack.enter_context(opened_tree(path)) if (path / "metadata").is_dir() else tables(path)

        tree = stack.enter_context(opened_tree(conversion.model))
        seen = tables(conversion.seen) if conversion.seen else []
        yield Inputs(conversion, tree, seen, labels(conversion.user_labels), labels(conversion.item_labels))


def convert(inputs: Inputs, report: Report = lambda _phase, _done, _total: None) -> tuple[Factors, list[str]]:
    """Return the model, validated, and remarks for people.

    Raises ConversionError, TrainingError, ModelRejectedError and its subclasses.
    """
    model, remarks = find_model(inputs.tree), list[str]()
    facts = facts_of_job(inputs.tree) or Facts(inputs.conversion.alpha, inputs.conversion.reg_param)
    on_bytes = _meter(model, report)
    users, user_ids = _side(model, "userFactors", model.user_column, inputs.user_labels, on_bytes, remarks)
    items, item_ids = _side(model, "itemFactors", model.item_column, inputs.item_labels, on_bytes, remarks)
    seen = _seen(inputs, model, Side(users.numbers, user_ids), Side(items.numbers, item_ids), report, remarks)
    raw = RawModel(
        user_factors=users.factors,
        item_factors=items.factors,
        user_ids=user_ids,
        item_ids=item_ids,
        seen=seen,
        names={"user_factors": "userFactors", "item_factors": "itemFactors"},
        item_weights=item_weights_of_job(inputs.tree, items.numbers),
        activity_discount=facts.activity_discount,
        regularization=_regularization(facts, seen, len(user_ids)),
        alpha=_alpha(facts),
    )
    return validate(raw), remarks


def write(model: Factors, file: BinaryIO) -> None:
    """Write the safe format to an open file. Raises OSError."""
    more: dict[str, Any] = {} if model.item_weights is None else {"item_weights": model.item_weights}
    if model.seen:
        more |= {"seen_indptr": model.seen.indptr, "seen_indices": model.seen.items, "seen_weights": model.seen.weights}
    np.savez(
        file,
        allow_pickle=False,
        user_factors=model.user_factors,
        item_factors=model.item_factors,
        user_ids=model.user_ids,
        item_ids=model.item_ids,
        regularization=np.float64(model.regularization),
        alpha=np.float64(model.alpha),
        activity_discount=np.float64(model.activity_discount),
        **more,
    )


def _meter(model: SparkModel, report: Report) -> OnBytes:
    """Return what reports the bytes of factors that were read."""
    total = sum(part.size for name in ("userFactors", "itemFactors") for part in model.tree.below(name).parts())
    done = 0

    def on_bytes(count: int) -> None:
        nonlocal done
        done += count
        report("converting", done, total)

    return on_bytes


def _side(
    model: SparkModel,
    name: str,
    column: str,
    given: Tree | list[DataFile] | None,
    on_bytes: OnBytes,
    remarks: list[str],
) -> tuple[Numbered, Any]:
    """Return the factors of users or items, and their ids: labels if there are any, else Spark's numbers."""
    found = read_factors(model.tree.below(name), model.rank, on_bytes)
    labels = _labels(model, column, given)
    if labels is None:
        remarks.append(f"{name} has no labels, so the ids are Spark's numbers of the column {column}")
        return found, found.numbers
    if labels.stands_for_others(int(found.numbers[-1])):
        remarks.append(f"{name} has a row for all values without a label (handleInvalid), which is left out")
        found = Numbered(found.tree, found.numbers[:-1], found.factors[:-1])
    return found, labels.of(found.numbers)


def _labels(model: SparkModel, column: str, given: Tree | list[DataFile] | None) -> Labels | None:
    if isinstance(given, Tree):
        return labels_of_indexer(single_indexer(given))
    if given:
        return labels_of_tables(str(given[0].path), given)
    return labels_of_indexer(model.indexers[column]) if column in model.indexers else None


def _seen(
    inputs: Inputs, model: SparkModel, users: Side, items: Side, report: Report, remarks: list[str]
) -> RawSeen | None:
    if not inputs.seen:
        remarks.append("without --seen, users are recommended what they already had, and nothing is popular")
        return None
    where = str(inputs.conversion.seen)
    had = read_seen(
        where, inputs.seen, model, users, items, inputs.account, lambda done, total: report("reading", done, total)
    )
    if had.seen.weights is None or not len(had.seen.weights):
        raise ConversionError(
            f"{where} has no interaction of a user and an item of the model; give the model's own ids, or name the "
            f"columns {model.user_column} and {model.item_column} if they have Spark's numbers."
        )
    remarks.extend(_on_rows(where, inputs.account))
    if had.left_out:
        remarks.append(f"{had.left_out} pairs of {where} are of users or items without factors, and are left out")
    return had.seen


def _on_rows(where: str, account: Account) -> list[str]:
    """Return what is to be said of the rows of interactions."""
    skipped = f"{account.count} rows of {where} were skipped; the first: {with_quotations(account.first)}"
    return [*account.sentences(), *([skipped] if account.count else [])]


def _alpha(facts: Facts) -> float:
    """Return implicit's alpha that is nearest to Spark's, for explanations and for users outside the model.

    Spark's confidence in a pair of weight r is 1 + alpha r, implicit's is alpha r: equal for a weight of 1.
    """
    return 1 + facts.alpha


def _regularization(facts: Facts, seen: RawSeen | None, users: int) -> float:
    """Return implicit's regularization that is nearest to Spark's.

    Spark multiplies regParam by each user's number of pairs, implicit does not: equal for a user with the mean number.
    """
    mean = 1.0 if seen is None or seen.weights is None else len(seen.weights) / users
    return facts.reg_param * mean
