"""The facts of a model's training: whatever they say, they can be shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from service.model.facts import TrainingFacts, encode_facts, prove_facts
from tests.training.test_model_files import FACTS


def changed(**changes: Any) -> str:
    """Return facts as a file has them, with some changed."""
    return msgspec.json.encode(msgspec.to_builtins(FACTS) | changes).decode()


def test_facts_come_back_as_they_were() -> None:
    """Written by a training and read at an import."""
    assert prove_facts(encode_facts(FACTS)) == FACTS


def test_the_time_of_training_is_in_utc() -> None:
    """Whatever its zone, so that no later conversion can fail."""
    found = prove_facts(changed(trained_at="2024-05-01T12:00:00+02:00"))
    assert found
    assert found.trained_at == datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert found.trained_at.tzinfo is UTC


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-23:00", "0001-01-01T00:00:00", "no time"]
)
def test_a_time_that_utc_cannot_have_is_none(moment: str) -> None:
    """Facts of such a time are left out when a file is read, and make a manifest damaged."""
    assert prove_facts(changed(trained_at=moment)) is None
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(changed(trained_at=moment), type=TrainingFacts)


def test_a_number_of_any_size_is_none() -> None:
    """Numbers that no training has, and that float cannot hold, are left out with the rest."""
    parameters = msgspec.to_builtins(FACTS.parameters)
    assert prove_facts(changed(parameters=parameters | {"seed": 2**70})) is None
