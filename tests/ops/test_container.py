"""The image: built from the Dockerfile as it is, run as it is deployed, and looked at from outside."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path

import pytest

from tests.support.containers import CONFINED, Container, build_image, docker, run_once, running_container
from tests.support.helpers import model_bytes, put
from tests.support.interactions import write_interactions
from tests.support.poison import poison
from tests.support.rendering import render
from tests.support.seaweed import Seaweed

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
    """The HEALTHCHECK works: a container whose port is silent is unhealthy."""
    with running_container(image, models) as started:
        started.wait_until(lambda: started.get("/readyz")[0] == 200)
        started.run("sh", "-c", "kill -STOP -1")  # everybody but the first process, which passes signals on
        assert not started.is_healthy()


def test_the_model_is_checked_in_the_container(container: Container) -> None:
    """``als-serve check`` works in the running container, with its settings, as `docker compose exec` runs it."""
    checked = container.run("als-serve", "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "📁 Model path: /models/als_model.npz" in checked.stdout
    assert checked.stdout.endswith("✅ Model loading test completed successfully!\n")


def test_any_user_of_group_0_may_write_where_the_image_writes(image: str) -> None:
    """OpenShift picks a user for each project; a model can be put into /app and the volume, and state kept."""
    paths = [f"{place}/new" for place in ("/app", "/var/lib/als-serve/models", "/var/lib/als-serve/state")]
    options = ("--user=1000650000:0", "--cap-drop=all", "--security-opt=no-new-privileges", "--entrypoint=touch")
    done = run_once(image, *paths, options=options)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_health_check_needs_no_port_of_the_environment(image: str, models: Path) -> None:
    """A port that the server picks, several workers, a management port, and a proxy that does not answer."""
    variables = {"ALS_WORKERS": "2", "ALS_MANAGEMENT_PORT": "0", "HTTP_PROXY": "http://127.0.0.1:1"}
    with running_container(image, models, **variables) as started:
        started.wait_until(lambda: started.get("/readyz")[0] == 200)
        assert started.is_healthy()


def test_nothing_runs_as_root(container: Container) -> None:
    """The user has a number of its own, and may not change the code that it runs."""
    assert container.run("id", "-u").stdout == f"{USER}\n"
    changed = container.run("find", "/app/", "/venv/", "-mindepth", "1", "-writable", "-not", "-type", "l")
    assert changed.stdout == ""


def test_a_model_is_swapped_in_the_container(container: Container, models: Path) -> None:
    """A file renamed over the model in the mounted directory is served, without a restart."""
    container.wait_until_serving(put(models / "als_model.npz", model_bytes(2)))
    container.wait_until_serving(put(models / "als_model.npz", model_bytes(3)))


def test_the_container_swaps_in_what_is_published(image: str, seaweed: Seaweed, tmp_path: Path) -> None:
    """From an empty volume on: what the image's own command publishes to S3, a container that follows S3 serves."""
    bucket = asyncio.run(seaweed.make_bucket(versioned=True))
    environment = seaweed.environment()
    models, published = tmp_path / "models", tmp_path / "published"
    for directory in (models, published):
        directory.mkdir()
        directory.chmod(0o777)
    given = [f"--env={name}={value}" for name, value in environment.items()]
    variables = {"ALS_S3_URI": f"s3://{bucket}/models/", "ALS_S3_POLL_SECONDS": "1"}
    with running_container(image, models, **environment, **variables) as started:
        for seed in (1, 2):
            version = put(published / "als_model.npz", model_bytes(seed))
            command = ("publish", "/published/als_model.npz", variables["ALS_S3_URI"])
            done = run_once(image, *command, options=(*CONFINED, *given, f"--volume={published}:/published"))
            assert done.returncode == 0, done.stderr
            started.wait_until_serving(version)
        assert started.get("/v1/model")[1]["s3"]["served"]["sha256"].startswith(version)


def test_the_default_path_may_be_replaced_by_its_user(image: str) -> None:
    """Where the root is not read-only, ALS_MODEL_PATH is a path that a rename can replace."""
    replace = 'touch /app/.incoming && mv /app/.incoming "$ALS_MODEL_PATH" && mv "$ALS_MODEL_PATH" /app/.again'
    done = run_once(image, "-euc", replace, options=("--entrypoint=/bin/sh",))
    assert done.returncode == 0, done.stderr


def test_nothing_beside_the_model_is_imported(image: str, tmp_path: Path) -> None:
    """Whatever is put into /app, where the model is and PYTHONPATH leads, only the model is read, by every command."""
    executed = poison(tmp_path)
    tmp_path.chmod(0o777)
    version = put(tmp_path / "als_model.pkl", model_bytes(1))
    with running_container(image, tmp_path, at="/app", ALS_MODEL_PATH="/app/als_model.pkl") as started:
        started.wait_until_serving(version)
        started.wait_until_serving(put(tmp_path / "als_model.pkl", model_bytes(2)))
        assert started.is_healthy()
        assert started.run("pwd").stdout == "/app\n"
        write_interactions(tmp_path / "data.csv")
        for command in ("check", "recommend --user 1", "train data.csv --iterations 2 --model-path trained.npz"):
            done = started.run("als-serve", *command.split())
            assert done.returncode == 0 or "has no user" in done.stderr, done.stderr
    assert not executed.exists()


def test_the_server_cannot_be_looked_into_by_its_own_user(container: Container) -> None:
    """A process of the same user, as the importing one is here, can read neither its environment nor its memory."""
    # The oldest: the health check, which runs now and then, is one, too.
    listed = container.run("sh", "-c", "grep -l python3 /proc/[0-9]*/comm").stdout.split()
    found = min(listed, key=lambda path: int(path.split("/")[2]))
    for name in ("environ", "mem", "maps"):
        refused = container.run("cat", str(Path(found).with_name(name)))
        assert "Permission denied" in refused.stderr, name


def test_the_image_has_the_scan_kernel(container: Container) -> None:
    """It is built where there is a compiler, and served from where there is none."""
    assert container.get("/v1/model")[1]["kernel"] == "int8"
    assert container.run("which", "gcc").returncode == 1


def test_sigterm_drains_and_exits_with_0(image: str, models: Path) -> None:
    """The signal of ``docker stop`` reaches the server: it says that it is not ready, still answers, and ends well."""
    with running_container(image, models) as started:
        started.wait_until(lambda: started.get("/readyz")[0] == 200)
        docker("kill", "--signal=TERM", started.id)
        started.wait_until(lambda: started.get("/readyz")[0] == 503)
        assert started.get("/v1/model")[0] == 200
        assert started.exit_code() == 0


def test_sigterm_ends_a_container_that_has_not_begun_to_serve(image: str, models: Path) -> None:
    """While Python imports, a signal is not lost, as it would be to a first process that does not handle it."""
    with running_container(image, models) as started:
        docker("kill", "--signal=TERM", started.id)
        assert started.exit_code() == 0


def test_a_model_that_its_user_may_not_read_is_waited_for(image: str, tmp_path: Path) -> None:
    """A file of mode 600 is refused in one sentence, as any bad file; once it may be read, it is served."""
    tmp_path.chmod(0o755)
    model = tmp_path / "als_model.npz"
    version = put(model, model_bytes(1))
    model.chmod(0o600)
    with running_container(image, tmp_path) as started:
        started.wait_until(lambda: "❌ /models/als_model.npz cannot be read: Permission denied." in started.log)
        assert started.get("/healthz")[0] == 200
        model.chmod(0o644)
        started.wait_until_serving(version)


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


def test_the_image_has_nothing_that_builds(image: str) -> None:
    """What builds and installs packages is left out: an intruder cannot use it, and no start pays for it."""
    done = run_once(image, "-c", "ls /venv/bin /venv/lib/python3*/site-packages", options=("--entrypoint=/bin/sh",))
    assert "als-serve" in done.stdout
    assert {"pip", "setuptools", "distutils-precedence.pth"}.isdisjoint(done.stdout.split())


def test_the_image_says_what_it_is(image: str) -> None:
    """Title, description and licence, as the package has them, user, volume and how to stop it stand in the image."""
    config = json.loads(docker("image", "inspect", image).stdout)[0]["Config"]
    package = metadata("als-serve")
    names = {"title": "Name", "description": "Summary", "licenses": "License-Expression"}
    assert {name: config["Labels"][f"org.opencontainers.image.{name}"] for name in names} == {
        name: package[field] for name, field in names.items()
    }
    assert config["User"] == f"{USER}:0"
    assert config["Healthcheck"]["Test"] == ["CMD", "als-serve", "health"]
    assert list(config["Volumes"]) == ["/var/lib/als-serve"]
    assert config["StopSignal"] == "SIGTERM"
    assert {"PYTHONPATH=/app", "PYTHONUNBUFFERED=1", "ALS_MODEL_PATH=/app/als_model.pkl"} <= set(config["Env"])


# ---------------------------------------------------------------- the first boot of an EC2 instance

#: In place of every program that the script calls: it says how it was called, and fails where it is to fail.
STUB = """#!/bin/sh
called="$(basename "$0") $*"
echo "called: $called"
case "$called" in {failing}) exit 1;; esac
"""
BOOT = """set -euo pipefail
mkdir -p /stubs /etc/systemd/system
for program in docker docker-credential-ecr-login dnf systemctl sleep; do install /boot/stub /stubs/$program; done
PATH=/stubs:$PATH
for time in $(seq {times}); do bash /boot/init.sh; done
cat /etc/als-serve/*.env /etc/systemd/system/als-serve.service
[[ ! -e /root/.docker ]] || cat /root/.docker/config.json
stat -c '%u %a %n' /var/lib/als-serve/models
"""
VALUES = {
    "image": "registry.example/als-serve:1",
    "s3_uri": "s3://shop-models/models/",
    "environment": """A="$HOME" '$(id)' `id` \\$""",
    "unit": "[Service]",
}


def boot(
    image: str, directory: Path, *, failing: str = "nothing", times: int = 1, pulled: str = VALUES["image"]
) -> tuple[int, str]:
    """Run the script as root in a container, and show what it has written; return its exit code and what was said."""
    (directory / "init.sh").write_text(render(VALUES | {"image": pulled}))
    (directory / "stub").write_text(STUB.format(failing=failing))
    (directory / "boot").write_text(BOOT.format(times=times))
    options = ("--user=0", "--entrypoint=/bin/bash", f"--volume={directory}:/boot")
    done = run_once(image, "/boot/boot", options=options)
    return done.returncode, done.stdout


@pytest.mark.parametrize("times", [1, 2])
def test_the_first_boot_brings_everything_and_a_second_does_no_harm(image: str, tmp_path: Path, times: int) -> None:
    """Image, settings as they are, model and service, in this order; run again, the script leaves the same behind."""
    code, said = boot(image, tmp_path, times=times)
    assert code == 0, said
    steps = ["docker pull", "docker run --rm", "systemctl daemon-reload", "systemctl restart als-serve.service"]
    places = [said.rindex(f"called: {step}") for step in steps]
    assert places == sorted(places)
    assert "pull s3://shop-models/models/ --to /var/lib/als-serve/models/als_model.npz" in said
    written = "ALS_MODEL_PATH=/var/lib/als-serve/models/als_model.npz\nALS_S3_URI=s3://shop-models/models/\n"
    assert said.count(written + VALUES["environment"] + "\n") == 1
    assert "IMAGE=registry.example/als-serve:1" in said
    assert said.endswith(f"{USER} 750 /var/lib/als-serve/models\n")


def test_a_first_boot_before_the_first_model_starts_the_service(image: str, tmp_path: Path) -> None:
    """With an empty bucket, the setup succeeds: the server waits for a model by itself."""
    code, said = boot(image, tmp_path, failing='"docker run"*')
    assert code == 0, said
    assert "No model for now" in said
    assert "called: systemctl restart als-serve.service" in said


def test_a_first_boot_without_its_image_fails(image: str, tmp_path: Path) -> None:
    """What cannot be done is tried five times, said with the time, and not passed over."""
    code, said = boot(image, tmp_path, failing='"docker pull"*')
    assert code != 0
    assert said.count("called: docker pull") == 5
    assert "Z Attempt 5 failed: docker pull --quiet registry.example/als-serve:1" in said
    assert "called: systemctl restart" not in said


def test_an_image_in_ecr_is_pulled_by_the_role_of_the_instance(image: str, tmp_path: Path) -> None:
    """Docker asks the helper for the registry of the image alone, and no password is written down."""
    registry = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
    code, said = boot(image, tmp_path, pulled=f"{registry}/als-serve:1")
    assert code == 0, said
    assert f'{{"credHelpers": {{"{registry}": "ecr-login"}}}}' in said
