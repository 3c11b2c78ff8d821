"""Where implicit trains. No GPU is at hand: a stand-in behaves as implicit's class for one does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import implicit.gpu
import numpy as np
import pytest
from implicit.cpu.als import AlternatingLeastSquares as CpuAls

from service.errors import TrainingError
from service.training import fitting
from service.training.als import train
from service.training.fitting import Gpu, Machine
from service.training.interactions import Interactions
from service.training.plan import Plan
from tests.support.interactions import small_interactions
from tests.training.test_stopping import many

SMALL = small_interactions()
__all__ = ["many"]  # a fixture


class Matrix:
    """Stands in for an array in the memory of a GPU, which only ``to_numpy`` brings back."""

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        self._values = values.copy()

    def to_numpy(self) -> np.ndarray[Any, Any]:
        """Return the array."""
        return self._values.copy()


class GpuAls:
    """Stands in for implicit's model on a GPU: factors are matrices of its own kind, or None before training."""

    def __init__(self, cpu: CpuAls) -> None:
        self._cpu = cpu
        self.iterations = cpu.iterations
        self.item_factors: Matrix | None = None

    def fit(self, weights: object, *, show_progress: bool, callback: Callable[..., object] | None = None) -> None:
        """Train as the CPU does, with factors that are on the GPU from one iteration to the next."""
        self._cpu.item_factors = None if self.item_factors is None else self.item_factors.to_numpy()
        self._cpu.iterations = self.iterations

        def after(*told: object) -> None:
            self.item_factors = Matrix(self._cpu.item_factors)
            if callback:
                callback(*told)

        self._cpu.fit(weights, show_progress=show_progress, callback=after)

    def to_cpu(self) -> CpuAls:
        """Return the model of the CPU."""
        return self._cpu


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Let there be a GPU; return whether each model that is made is for one."""
    made: list[bool] = []

    def make(*, use_gpu: bool, **named: Any) -> Any:
        made.append(use_gpu)
        return GpuAls(CpuAls(**named)) if use_gpu else CpuAls(**named)

    monkeypatch.setattr(implicit.gpu, "HAS_CUDA", True)
    monkeypatch.setattr(implicit.gpu, "Matrix", Matrix, raising=False)
    monkeypatch.setattr(fitting, "AlternatingLeastSquares", make)
    return made


@pytest.mark.parametrize(("gpu", "used"), [("auto", True), ("on", True), ("off", False)])
def test_a_gpu_is_used_unless_it_is_off(asked: list[bool], gpu: Gpu, used: bool) -> None:
    """Whether on a GPU or not, the model is one of the CPU in the end, with the same factors."""
    model = train(SMALL, machine=Machine(gpu=gpu))
    assert asked == [used]
    assert isinstance(model.als, CpuAls)
    np.testing.assert_array_equal(model.item_factors, train(SMALL, machine=Machine(gpu="off")).item_factors)


def test_iterations_stop_on_a_gpu_too(asked: list[bool], many: Interactions) -> None:
    """What is validated comes back from the GPU, and what was best goes there again."""
    on, off = (train(many, Plan(factors=6), machine=Machine(1, gpu)) for gpu in ("on", "off"))
    assert asked == [True, False]
    assert on.parameters == off.parameters
    np.testing.assert_allclose(on.item_factors, off.item_factors, rtol=1e-5)


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one must be used and there is none, a sentence says so; otherwise the CPU trains."""
    monkeypatch.setattr(implicit.gpu, "HAS_CUDA", False)
    with pytest.raises(
        TrainingError, match=r"^There is no GPU that implicit can use; train with --gpu auto or --gpu off"
    ):
        train(SMALL, machine=Machine(gpu="on"))
    assert train(SMALL, machine=Machine(gpu="auto")).item_factors.shape == (3, 256)


def test_a_gpu_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """What implicit lacks for a GPU is one sentence; its own class says it, for nothing of a GPU is here."""
    monkeypatch.setattr(implicit.gpu, "HAS_CUDA", True)
    monkeypatch.setattr(implicit.gpu, "HAS_RMM", False, raising=False)
    with pytest.raises(TrainingError, match=r"^The GPU cannot be used: RMM isn't installed, can't train on GPU; train"):
        train(SMALL, machine=Machine(gpu="on"))
