"""Training data as people have them, at a start without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.running import running_server


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return the path of the training data."""
    return tmp_path / "data.csv"


def test_times_that_cannot_be_read(tmp_path: Path, data: Path) -> None:
    """They cost the order of times, which the log says once; the model has every row."""
    rows = [f"{number % 5},{number},noon o'clock" for number in range(20)]
    data.write_text("\n".join(["user_id,product_id,event_time", *rows]))
    with running_server(tmp_path / "model.pkl", tmp_path / "state", training_data=data) as server:
        server.wait_until_ready()
        server.wait_for("trained")
        said = server.wait_for("training_data")["text"]
        assert said.endswith("line 2: the time is \"noon o'clock\", and only numbers and dates of ISO 8601 are read; "
                             "the order of times is not used")  # fmt: skip
        assert server.get("/v1/model")[1]["trained"]["data"]["rows"] == 20


def test_a_layout_by_settings(tmp_path: Path, data: Path) -> None:
    """Columns, delimiter and encoding are those of the settings, in a process that can load nothing by then."""
    rows = [f"é{number % 5}||{number}||x" for number in range(20)]
    data.write_bytes("\n".join(rows).encode("cp1252"))
    layout: dict[str, Any] = {
        "training_columns": "user,item,-",
        "training_delimiter": "||",
        "training_encoding": "cp1252",
    }
    with running_server(tmp_path / "model.pkl", tmp_path / "state", training_data=data, **layout) as server:
        server.wait_until_ready()
        server.wait_for("trained")
        assert server.get("/v1/users?prefix=%C3%A9")[1]["users"] == [f"é{number}" for number in range(5)]


@pytest.mark.parametrize("header", ["user_id,item_id,rating", "user_id,item_id,rating,quantity"])
def test_weights_that_cannot_be_read(tmp_path: Path, data: Path, header: str) -> None:
    """The model is made without them, which the log says."""
    rows = [f"{number % 5},{number},good" + ",3" * header.count("quantity") for number in range(20)]
    data.write_text("\n".join([header, *rows]))
    with running_server(tmp_path / "model.pkl", tmp_path / "state", training_data=data) as server:
        server.wait_until_ready()
        server.wait_for("trained")
        assert server.wait_for("training_data")["text"].endswith("; the weights are not used")
        assert server.get("/v1/model")[1]["trained"]["data"]["rows"] == 20


def test_what_is_recommended_is_a_setting(tmp_path: Path, data: Path) -> None:
    """A server has no flags for its data, so the sentence names the setting."""
    data.write_text("A1,B1,5.0\nA2,B2,4.0\n")
    with running_server(tmp_path / "model.pkl", tmp_path / "state", training_data=data) as server:
        assert "ALS_TRAINING_COLUMNS=user,item,rating" in server.wait_for("training_failed")["detail"]
