"""What `make test-kubernetes` applies to a cluster is valid, and its client counts what fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.containers import free_port
from tests.support.helpers import model_bytes, put
from tests.support.kubernetes import MANIFESTS, VERSIONS, built, one, validate
from tests.support.running import running_server

PROOF = MANIFESTS / "proof"
SPACE = "als-serve-proof"


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
def test_the_proof_is_valid(version: str) -> None:
    """Strict schemas accept every resource, and each is in the namespace that is removed at the end."""
    for resource in built(PROOF):
        validate(resource, version)
        assert resource["metadata"].get("namespace", SPACE) == SPACE
    assert one(built(PROOF), "Namespace", SPACE)
    assert f"space={SPACE}\n" in (PROOF / "prove.sh").read_text("utf-8")


def test_no_pod_of_the_proof_gets_variables_of_services() -> None:
    """Those of the Service als-serve would be settings that als-serve does not know; and all pods are restricted."""
    workloads = [each["spec"] for each in built(PROOF) if each["kind"] in {"Deployment", "CronJob"}]
    pods = [each.get("jobTemplate", {}).get("spec", each)["template"]["spec"] for each in workloads]
    assert len(pods) == 4
    for pod in pods:
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_client_counts_what_fails(tmp_path: Path) -> None:
    """It counts answers of a real server as such, and a port that nobody listens on as a failure."""
    model = tmp_path / "als_model.npz"
    put(model, model_bytes())
    with running_server(model, tmp_path / "state") as server:
        server.wait_until_ready()
        assert first_lines(f"{server.url}/v1/items/popular?n=5") == ["1 requests, 0 failed", "2 requests, 0 failed"]
    assert first_lines(f"http://127.0.0.1:{free_port()}/") == ["1 requests, 1 failed", "2 requests, 2 failed"]


def first_lines(url: str) -> list[str]:
    """Return what the client says first."""
    with subprocess.Popen([sys.executable, PROOF / "ask.py", url], stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout
        lines = [client.stdout.readline().strip() for _ in range(2)]
        client.terminate()
    return lines
