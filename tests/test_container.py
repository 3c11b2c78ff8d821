"""The image: built from the Dockerfile as it is, run as it is deployed, and looked at from outside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers import CONFINED, Container, build_image, podman, run_once, running_container
from tests.helpers import model_bytes, put

USER = 10001


@pytest.fixture(scope="module")
def image() -> str:
    """Build the image once."""
    return build_image()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory that the container's user may write to, with a model in it."""
    directory = tmp_path_factory.mktemp("models")
    directory.chmod(0o777)
    put(directory / "als_model.npz", model_bytes(1))
    return directory


@pytest.fixture(scope="module")
def container(image: str, models: Path) -> Iterator[Container]:
    """Run a container that has begun to serve."""
    with running_container(image, models) as started:
        started.wait_until(lambda: started.get("/readyz")[0] == 200)
        yield started


def test_a_ready_container_is_healthy(container: Container) -> None:
    """With a read-only root and no capability it serves the model of its volume, and its HEALTHCHECK says so."""
    assert container.is_healthy()


def test_the_health_check_notices_a_server_that_does_not_answer(image: str, models: Path) -> None:
    """The HEALTHCHECK is no formality: a container whose port is silent is unhealthy."""
    with running_container(image, models) as started:
        started.wait_until(lambda: started.get("/readyz")[0] == 200)
        podman("kill", "--signal=STOP", started.id)
        assert not started.is_healthy()


def test_the_model_is_checked_in_the_container(container: Container) -> None:
    """``als-serve check`` works in the running container, with its settings, as `docker compose exec` runs it."""
    checked = container.run("als-serve", "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "📁 Model path: /models/als_model.npz" in checked.stdout
    assert checked.stdout.endswith("✅ Model loading test completed successfully!\n")


def test_nothing_runs_as_root(container: Container) -> None:
    """The user has a number of its own, and may not change the code that it runs."""
    assert container.run("id", "-u").stdout == f"{USER}\n"
    changed = container.run("find", "/app/", "/venv/", "-mindepth", "1", "-writable", "-not", "-type", "l")
    assert changed.stdout == ""


def test_a_model_is_swapped_in_the_container(container: Container, models: Path) -> None:
    """A file renamed over the model in the mounted directory is served, without a restart."""
    container.wait_until_serving(put(models / "als_model.npz", model_bytes(2)))
    container.wait_until_serving(put(models / "als_model.npz", model_bytes(3)))


def test_the_default_path_may_be_replaced_by_its_user(image: str) -> None:
    """Where the root is not read-only, ALS_MODEL_PATH is a path that a rename can replace."""
    replace = 'touch /app/.incoming && mv /app/.incoming "$ALS_MODEL_PATH" && mv "$ALS_MODEL_PATH" /app/.again'
    done = run_once(image, "-euc", replace, options=("--entrypoint=/bin/sh",))
    assert done.returncode == 0, done.stderr


def test_sigterm_drains_and_exits_with_0(image: str, models: Path) -> None:
    """The signal of ``docker stop`` reaches the server: it says that it is not ready, still answers, and ends well."""
    with running_container(image, models) as started:
        started.wait_until(lambda: started.get("/readyz")[0] == 200)
        podman("kill", "--signal=TERM", started.id)
        started.wait_until(lambda: started.get("/readyz")[0] == 503)
        assert started.get("/v1/model")[0] == 200
        assert started.exit_code() == 0


def test_the_image_trains(image: str) -> None:
    """What the compose file's one-shot job does before it publishes, with nothing but /tmp to write to."""
    train = (
        "als-serve sample --directory /tmp/shop && "
        "als-serve train /tmp/shop/interactions.csv --model-path /tmp/als_model.npz --iterations 2 && "
        "als-serve check --model-path /tmp/als_model.npz"
    )
    done = run_once(image, "-euc", train, options=(*CONFINED, "--entrypoint=/bin/sh"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("✅ Model loading test completed successfully!\n")


def test_the_image_says_what_it_is(image: str) -> None:
    """Title, licence, user, volume and how to stop it stand in the image."""
    config = json.loads(podman("image", "inspect", image).stdout)[0]["Config"]
    assert config["Labels"]["org.opencontainers.image.title"] == "als-serve"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "MIT"
    assert config["User"] == f"{USER}:{USER}"
    assert list(config["Volumes"]) == ["/var/lib/als-serve"]
    assert config["StopSignal"] == "SIGTERM"
    assert {"PYTHONPATH=/app", "PYTHONUNBUFFERED=1", "ALS_MODEL_PATH=/app/als_model.pkl"} <= set(config["Env"])
