"""Model files from factors."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from service.errors import PathTakenError, TrainingError
from service.model.arranging import arrange
from service.model.factors import Factors
from service.model.facts import TrainingFacts, encode_facts
from service.model.formats.reading import read
from service.model.scoring import scoring
from service.model.storage.source import written_model
from service.model.validation.validation import validate
from service.training.als import TrainedModel, train
from service.training.model_files import facts_of, save_npz, save_pickle, write_popularity
from tests.support.interactions import small_interactions

Save: TypeAlias = Callable[[TrainedModel, TrainingFacts, Path], None]

SMALL = small_interactions()
MODEL = train(SMALL)
FACTS = facts_of(MODEL, [Path("/somewhere/orders.csv")], None, {"read": 0.5})
each_form = pytest.mark.parametrize("save", [save_npz, save_pickle])


def served(path: Path) -> Factors:
    """Read a model file as a server does."""
    with path.open("rb") as file:
        return validate(read(path, file))


def test_npz(tmp_path: Path) -> None:
    """The npz form has the factors, ids, seen items, parameters and facts, and no objects."""
    save_npz(MODEL, FACTS, tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz", allow_pickle=False) as arrays:
        written: dict[str, Any] = {name: arrays[name] for name in arrays.files}
    for name in ("user_factors", "item_factors"):
        assert np.array_equal(written.pop(name), getattr(MODEL, name))
    assert np.array_equal(written.pop("item_weights"), MODEL.weighting.item_weights)
    assert {name: array.tolist() for name, array in written.items()} == {
        "user_ids": ["ana", "ben", "chloe"],
        "item_ids": [3, 7, 11],
        "seen_indptr": [0, 2, 3, 5],
        "seen_indices": [0, 1, 1, 0, 2],
        "seen_weights": [1, 2, 1, 1, 1.5],
        "regularization": MODEL.parameters.regularization,
        "alpha": MODEL.parameters.alpha,
        "activity_discount": MODEL.parameters.activity_discount,
        "training_facts": encode_facts(FACTS),
    }


def test_pickle(tmp_path: Path) -> None:
    """The pickle form has the components that services know, with ids as plain numbers and text."""
    save_pickle(MODEL, FACTS, tmp_path / "model.pkl")
    components = pickle.loads((tmp_path / "model.pkl").read_bytes())
    assert np.array_equal(components.pop("model").item_factors, MODEL.item_factors)
    assert (components.pop("sparse_matrix") != SMALL.weights).nnz == 0
    assert np.array_equal(components.pop("item_weights"), MODEL.weighting.item_weights)
    assert components == {
        "user_id_map": {0: "ana", 1: "ben", 2: "chloe"},
        "product_id_map": {0: 3, 1: 7, 2: 11},
        "reverse_user_id_map": {"ana": 0, "ben": 1, "chloe": 2},
        "reverse_product_id_map": {3: 0, 7: 1, 11: 2},
        "activity_discount": MODEL.parameters.activity_discount,
        "training_facts": encode_facts(FACTS),
    }


@each_form
def test_serving_reads_what_was_written(tmp_path: Path, save: Save) -> None:
    """Either form passes the gates and arrives with the same factors, ids, seen items, parameters and facts."""
    save(MODEL, FACTS, tmp_path / "model")
    found = served(tmp_path / "model")
    assert np.array_equal(found.user_factors, MODEL.user_factors)
    assert np.array_equal(found.item_factors, MODEL.item_factors)
    assert found.item_weights is not None
    assert np.array_equal(found.item_weights, MODEL.weighting.item_weights)
    assert found.user_ids.tolist() == [b"ana", b"ben", b"chloe"]
    assert found.item_ids.tolist() == [3, 7, 11]
    assert found.seen is not None
    assert found.seen.items.tolist() == [0, 1, 1, 0, 2]
    assert found.seen.weights.tolist() == [1, 2, 1, 1, 1.5]
    assert (found.regularization, found.alpha) == (MODEL.parameters.regularization, MODEL.parameters.alpha)
    assert found.activity_discount == MODEL.parameters.activity_discount > 0
    assert found.facts == FACTS


@each_form
def test_a_user_is_folded_in_as_training_would(tmp_path: Path, save: Save) -> None:
    """With the weights of items in the file, what a user had leads to the factors that implicit solves for."""
    settled = MODEL.als.recalculate_user(0, MODEL.weighting.apply(SMALL.weights)[0])
    save(MODEL, FACTS, tmp_path / "model")
    arranged = arrange(served(tmp_path / "model"))
    assert arranged.seen is not None
    folded = scoring.fold_in(arranged, arranged.seen.of(0), arranged.seen.weights_of(0))
    np.testing.assert_allclose(folded, settled, rtol=1e-3, atol=1e-5)


def test_the_facts() -> None:
    """They say from what, how and with what a model was made, and give no path away."""
    assert (FACTS.data.files, FACTS.data.rows, FACTS.data.pairs) == (["orders.csv"], 5, 5)
    assert (FACTS.data.users, FACTS.data.items, FACTS.data.skipped_rows) == (3, 3, 0)
    assert FACTS.parameters == MODEL.parameters
    assert FACTS.seconds.keys() == {"read", "train"}
    assert FACTS.versions.keys() == {"python", "als-serve", "implicit", "numpy", "scipy", "pyarrow"}


def test_popularity_alone(tmp_path: Path) -> None:
    """A file without factors says so, and passes the gates."""
    with (tmp_path / "model.npz").open("wb") as file:
        write_popularity(SMALL, file)
    found = served(tmp_path / "model.npz")
    assert found.user_factors.shape == (3, 0)
    assert found.item_factors.shape == (3, 0)
    assert found.item_ids.tolist() == [3, 7, 11]


@each_form
def test_only_the_model_remains(tmp_path: Path, save: Save) -> None:
    """The file replaces the one before it, everyone may read it, and nothing else is left."""
    path = tmp_path / "models" / "model"
    path.parent.mkdir()
    path.write_text("the one before")
    save(MODEL, FACTS, path)
    umask = os.umask(0)
    os.umask(umask)
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
    assert path.stat().st_size > 500


def test_a_file_can_be_spared(tmp_path: Path) -> None:
    """Where nothing is to be overwritten, what is at the path stays, even a link that leads nowhere."""
    path = tmp_path / "model.npz"
    path.symlink_to("nowhere")
    with (
        pytest.raises(PathTakenError, match=f"^{path} already exists and was not overwritten\\.$"),
        written_model(path, overwrite=False),
    ):
        pass
    assert list(tmp_path.iterdir()) == [path]
    path.unlink()
    with written_model(path, overwrite=False) as file:
        file.write(b"a model")
    assert path.read_bytes() == b"a model"
    assert list(tmp_path.iterdir()) == [path]


@each_form
def test_a_failure_leaves_nothing(tmp_path: Path, save: Save) -> None:
    """Where the model cannot be put, one sentence says so, and no part of it remains."""
    path = tmp_path / "models" / "model"
    path.mkdir(parents=True)
    with pytest.raises(TrainingError, match=f"^The model cannot be written to {path}: Is a directory\\.$"):
        save(MODEL, FACTS, path)
    assert list(path.parent.iterdir()) == [path]
