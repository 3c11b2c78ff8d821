"""When to stop: some pairs are held out, and training stops when they are hardly ranked better."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from service.model.factors import Float32, Int64
from service.model.facts import Parameters
from service.training.evaluation import evaluate
from service.training.interactions import Interactions
from service.training.splitting import hold_out
from service.training.user_step import exact_users

#: No training goes on for longer, whatever the validation says.
MOST_ITERATIONS = 15

#: One user in five is validated, but not more than take little time; fewer than these say too little.
_ONE_IN, _MOST_USERS, _FEWEST_USERS = 5, 1000, 100


@dataclass(frozen=True, slots=True)
class Validation:
    """Pairs of some users that are held back; weights are those that training takes.

    remaining: [users, items], the other pairs of all users. users: int64 [validated users], rows of ``remaining``.
    held_out: [validated users, items]. metric: that of ``als`` in an evaluation of the top k.
    """

    remaining: csr_matrix[np.float32]
    users: Int64
    held_out: csr_matrix[np.float32]
    metric: str = "ndcg"
    k: int = 20

    def value(self, item_factors: Float32, parameters: Parameters, threads: int) -> float:
        """Return how well what is held back is ranked, for users whose factors are solved for exactly."""
        seen = self.remaining[self.users]
        users = exact_users(seen * np.float32(parameters.alpha), item_factors, parameters.regularization)
        found = evaluate(users, item_factors, seen, self.held_out, k=self.k, threads=threads)
        return float(getattr(found.als, self.metric))


def validation_of(interactions: Interactions, seed: int) -> Validation | None:
    """Hold a fifth of the pairs of some users back; None where these are too few to tell one iteration from another."""
    count = interactions.weights.shape[0]
    users = np.sort(np.random.default_rng(seed).permutation(count)[: min(count // _ONE_IN, _MOST_USERS)])
    if len(users) < _FEWEST_USERS or np.diff(interactions.weights.indptr)[users].max() < _ONE_IN:
        return None
    remaining, held_out = hold_out(interactions, share=1 / _ONE_IN, seed=seed, users=users)
    return Validation(remaining.weights, users, held_out[users])
