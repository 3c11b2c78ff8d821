"""The recipe from files of interactions to a model file, for train, tune and the demo."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from service.model.facts import DEFAULTS, Evaluation, Parameters, TrainingFacts
from service.training.als import Report, silent, train
from service.training.columns import ColumnNames
from service.training.evaluation import evaluate
from service.training.interactions import Interactions, read_interactions
from service.training.model_files import SAVE, facts_of, prove_target
from service.training.splitting import hold_out

TOP_K = 20


@dataclass(frozen=True, slots=True)
class Recipe:
    """What data to read, and how.

    paths: files and directories. threads: 0 means all cores. k: the number of recommended items in an evaluation.
    """

    paths: Sequence[Path]
    names: ColumnNames = ColumnNames()  # noqa: RUF009 - it is frozen
    skip_bad_rows: bool = False
    threads: int = 0
    k: int = TOP_K

    def read(self, report: Report = silent) -> Interactions:
        """Read the interactions. Raises TrainingError."""
        return read_interactions(
            self.paths,
            self.names,
            skip_bad_rows=self.skip_bad_rows,
            on_read=lambda read, total: report("reading", read, total),
        )

    def evaluate(self, interactions: Interactions, parameters: Parameters, report: Report = silent) -> Evaluation:
        """Train on four fifths of each user's pairs, and evaluate on the rest. Raises TrainingError."""
        remaining, held_out = hold_out(interactions, seed=parameters.seed)
        model = train(remaining, parameters, threads=self.threads, report=report)
        return evaluate(
            model.user_factors,
            model.item_factors,
            remaining.weights,
            held_out,
            k=self.k,
            threads=self.threads,
            on_progress=lambda done, total: report("evaluating", done, total),
        )


def make_model(
    recipe: Recipe,
    output: Path,
    *,
    parameters: Parameters = DEFAULTS,
    model_format: Literal["npz", "pickle"] = "npz",
    with_evaluation: bool = False,
    with_loss: bool = False,
    report: Report = silent,
) -> TrainingFacts:
    """Read, optionally evaluate, train on everything, and replace the output. Raises TrainingError.

    The evaluated model is like the written one, but trained on less data.
    """
    prove_target(output)
    started = time.perf_counter()
    interactions = recipe.read(report)
    seconds = {"read": time.perf_counter() - started}
    evaluation = None
    if with_evaluation:
        started = time.perf_counter()
        evaluation = recipe.evaluate(interactions, parameters, report)
        seconds["evaluate"] = time.perf_counter() - started
    model = train(interactions, parameters, threads=recipe.threads, with_loss=with_loss, report=report)
    facts = facts_of(model, recipe.paths, evaluation, seconds)
    SAVE[model_format](model, facts, output)
    return facts
