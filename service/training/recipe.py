"""The recipe from files of interactions to a model file, for train, tune and the demo."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from service.model.facts import Evaluation, TrainingFacts
from service.training.als import train
from service.training.counting import Counting
from service.training.evaluation import evaluate, sample_users
from service.training.fitting import Gpu, Machine, Report, silent
from service.training.interactions import Interactions, read_interactions
from service.training.layout import Layout
from service.training.model_files import SAVE, facts_of, prove_target
from service.training.plan import DEFAULT, Plan
from service.training.splitting import hold_out

TOP_K = 20
#: An evaluation of more users takes long and says little more: the error is some thousandths of the value by then.
MOST_USERS = 50_000


@dataclass(frozen=True, slots=True)
class Recipe:
    """What data to read, and how.

    paths: files and directories. threads: 0 means all cores. k: the number of recommended items in an evaluation.
    """

    paths: Sequence[Path]
    layout: Layout = Layout()
    skip_bad_rows: bool = False
    counting: Counting = Counting()
    threads: int = 0
    gpu: Gpu = "auto"
    k: int = TOP_K
    sample: int = MOST_USERS

    @property
    def machine(self) -> Machine:
        """Return what to train on."""
        return Machine(self.threads, self.gpu)

    def read(self, report: Report = silent) -> Interactions:
        """Read the interactions. Raises TrainingError."""
        return read_interactions(
            self.paths,
            self.layout,
            skip_bad_rows=self.skip_bad_rows,
            counting=self.counting,
            on_read=lambda read, total: report("reading", read, total),
        )

    def evaluate(self, interactions: Interactions, plan: Plan, report: Report = silent) -> Evaluation:
        """Train on four fifths of each user's pairs, and evaluate on the rest. Raises TrainingError."""
        remaining, held_out = hold_out(interactions, seed=plan.seed)
        held_out, sampled_of = sample_users(held_out, self.sample, plan.seed)
        model = train(remaining, plan, machine=self.machine, report=report)
        return evaluate(
            model.user_factors,
            model.item_factors,
            remaining.weights,
            held_out,
            k=self.k,
            threads=self.threads,
            sampled_of=sampled_of,
            on_progress=lambda done, total: report("evaluating", done, total),
        )


def make_model(
    recipe: Recipe,
    output: Path,
    *,
    plan: Plan = DEFAULT,
    model_format: Literal["npz", "pickle"] = "npz",
    with_evaluation: bool = False,
    with_loss: bool = False,
    report: Report = silent,
    on_read: Callable[[Interactions], object] = lambda _: None,
) -> TrainingFacts:
    """Read, optionally evaluate, train on everything, and replace the output. Raises TrainingError.

    The evaluated model is like the written one, but trained on less data.
    """
    prove_target(output)
    started = time.perf_counter()
    interactions = recipe.read(report)
    on_read(interactions)
    seconds = {"read": time.perf_counter() - started}
    evaluation = None
    if with_evaluation:
        started = time.perf_counter()
        evaluation = recipe.evaluate(interactions, plan, report)
        seconds["evaluate"] = time.perf_counter() - started
    model = train(interactions, plan, machine=recipe.machine, with_loss=with_loss, report=report)
    facts = facts_of(model, recipe.paths, evaluation, seconds)
    SAVE[model_format](model, facts, output)
    return facts
