"""The manifests for Kubernetes as kustomize builds them, and the schemas that they must meet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from kubernetes_validate import utils as kubernetes

from tests.support import ROOT

MANIFESTS = ROOT / "ops" / "kubernetes"
BASE, EXAMPLE = MANIFESTS / "base", MANIFESTS / "example"
COMPONENTS = [EXAMPLE / "irsa", *sorted(path.parent for path in MANIFESTS.glob("components/*/kustomization.yaml"))]
#: Every supported version whose schemas there are.
VERSIONS = list(dict.fromkeys(kubernetes.major_minor(found) for found in kubernetes.all_versions()))
VERSIONS = VERSIONS[VERSIONS.index("1.27") :]
_OPERATOR = "monitoring.coreos.com/v1"
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}

Resource = dict[str, Any]


@cache
def built(directory: Path) -> list[Resource]:
    """Return the resources that kustomize makes of a directory."""
    kubectl = Path(sys.executable).with_name("kubectl")
    done = subprocess.run([kubectl, "kustomize", directory], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def with_components(directory: Path, components: Sequence[Path], **more: object) -> list[Resource]:
    """Return the base with components, as an overlay in an empty directory, with these other fields, would have it."""
    overlay = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(BASE, directory)],
        "components": [os.path.relpath(component, directory) for component in components],
        **more,
    }
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return built(directory)


def one(resources: Sequence[Resource], kind: str, name: str = "als-serve") -> Resource:
    """Return the only resource of a kind and name."""
    (found,) = (each for each in resources if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return found


def validate(resource: Resource, version: str) -> None:
    """Raise jsonschema.ValidationError for anything that a version of Kubernetes, or the operator, does not know."""
    if resource["apiVersion"] != _OPERATOR:
        kubernetes.validate(resource, version, strict=True)
        return
    schema = ROOT / "tests" / "fixtures" / "prometheus-operator" / f"{resource['kind'].lower()}.json"
    jsonschema.validate(resource, json.loads(schema.read_text("utf-8")))


def size(quantity: str) -> int:
    """Return the bytes of a quantity such as 2Gi."""
    return int(quantity[:-2]) * _UNITS[quantity[-2:]]
