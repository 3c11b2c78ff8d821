"""The manifests for Kubernetes: valid for every supported version, and right where a schema cannot tell."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import jsonschema
import pytest
import yaml

from service.answering import SENDING_SECONDS, SHUTDOWN_SECONDS
from service.observe.metrics import table
from service.settings import Settings
from tests.support import ROOT
from tests.support.documents import page
from tests.support.kubernetes import (
    BASE,
    COMPONENTS,
    EXAMPLE,
    MANIFESTS,
    VERSIONS,
    Resource,
    built,
    one,
    size,
    validate,
    with_components,
)
from tests.support.monitoring import prove

MONITORING = MANIFESTS / "components" / "monitoring"
LABELS = {"app.kubernetes.io/name": "als-serve"}


@pytest.fixture(scope="module", params=["base", "example", "all components"])
def resources(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Resource]:
    """Return what an overlay applies: the base, the example, or the base with every component."""
    if request.param == "all components":
        return with_components(tmp_path_factory.mktemp("overlay"), COMPONENTS)
    return built({"base": BASE, "example": EXAMPLE}[request.param])


@pytest.fixture
def deployment() -> Resource:
    """Return the deployment's specification in the base."""
    spec: Resource = one(built(BASE), "Deployment")["spec"]
    return spec


@pytest.fixture
def pod(deployment: Resource) -> Resource:
    """Return the specification of the base's pods."""
    spec: Resource = deployment["template"]["spec"]
    return spec


@pytest.fixture
def container(pod: Resource) -> Resource:
    """Return the only container of a pod."""
    (found,) = pod["containers"]
    return dict(found)


@pytest.fixture
def variables(container: Resource) -> dict[str, str]:
    """Return the settings of a pod that follows S3."""
    given: dict[str, str] = dict(one(built(EXAMPLE), "ConfigMap", configured())["data"])
    return given | {each["name"]: each["value"] for each in container["env"]}


def configured() -> str:
    """Return the name of the settings that the example's pods read."""
    (container,) = one(built(EXAMPLE), "Deployment")["spec"]["template"]["spec"]["containers"]
    (source,) = container["envFrom"]
    name: str = source["configMapRef"]["name"]
    return name


@pytest.mark.parametrize("version", VERSIONS)
def test_every_resource_is_known_to_every_version(resources: list[Resource], version: str) -> None:
    """Strict schemas from 1.27 on accept every field."""
    for resource in resources:
        validate(resource, version)


def test_a_field_that_does_not_exist_is_found(resources: list[Resource]) -> None:
    """The schemas are strict: a typing error in any resource's specification is an error."""
    for resource in (each for each in resources if "spec" in each):
        wrong = resource | {"spec": resource["spec"] | {"replicsa": 1}}
        with pytest.raises(jsonschema.ValidationError, match="replicsa"):
            validate(wrong, VERSIONS[-1])


# ---------------------------------------------------------------- what schemas cannot tell


def selectors(resources: list[Resource]) -> dict[str, Any]:
    """Return every selector that is meant for the pods."""
    spec = {f"{each['kind']} {each['metadata']['name']}": each.get("spec", {}) for each in resources}
    found = {name: each.get("selector", each.get("podSelector")) for name, each in spec.items()}
    for name, each in spec.items():
        pod = each.get("template", {}).get("spec", {})
        for number, spread in enumerate(pod.get("topologySpreadConstraints", [])):
            found[f"{name} spread {number}"] = spread["labelSelector"]
    return {name: selector for name, selector in found.items() if selector is not None}


def test_every_selector_finds_these_pods_and_no_others(resources: list[Resource]) -> None:
    """None is empty, which would mean every pod of the namespace, and none has a label that the pods lack."""
    found = selectors(resources)
    kinds = {name.split()[0] for name in found}
    assert {"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"} <= kinds
    assert {name: selector.get("matchLabels", selector) for name, selector in found.items()} == dict.fromkeys(
        found, LABELS
    )
    assert one(resources, "Deployment")["spec"]["template"]["metadata"]["labels"] == LABELS


def test_no_variable_comes_from_services(pod: Resource) -> None:
    """A Service called als-serve would set ALS_SERVE_PORT=tcp://…, between the settings."""
    assert pod["enableServiceLinks"] is False


def test_the_model_is_where_the_volume_hides_nothing(container: Resource, variables: dict[str, str]) -> None:
    """An empty volume hides the image's directories: the model is at its root, and the server makes the rest."""
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert str(PurePosixPath(variables["ALS_MODEL_PATH"]).parent) in mounts
    assert str(PurePosixPath(variables["ALS_STATE_DIR"]).parent) in mounts
    assert "/tmp" in mounts  # nothing else can be written


def test_the_pod_outlives_its_last_answer(pod: Resource, container: Resource, variables: dict[str, str]) -> None:
    """The grace period is longer than draining, finishing and sending; nothing delays the signal before."""
    longest = float(variables["ALS_DRAIN_SECONDS"]) + SHUTDOWN_SECONDS + SENDING_SECONDS
    assert longest + 5 <= pod["terminationGracePeriodSeconds"]
    assert "lifecycle" not in container


def test_the_server_drains_for_longer_than_its_readiness_takes_to_fail(
    container: Resource, variables: dict[str, str]
) -> None:
    """A load balancer that asks for readiness itself sees it fail before the port closes."""
    probe = container["readinessProbe"]
    noticed = probe["failureThreshold"] * (probe["periodSeconds"] + probe["timeoutSeconds"])
    assert noticed < float(variables["ALS_DRAIN_SECONDS"])


def test_an_empty_bucket_restarts_no_pod(container: Resource) -> None:
    """Starting and living are asked of /healthz, which needs no model; only readiness is about the model."""
    asked = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert asked == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}


def test_an_import_fits_beside_the_server(container: Resource, variables: dict[str, str]) -> None:
    """A container dies with its importing child, so its limit covers the model file that the comment promises.

    The child's own limit is what the control group leaves, so it is not set.
    """
    resources = container["resources"]
    promised = (
        int(re.findall(r"Enough for a model file of (\d+) MB", (BASE / "deployment.yaml").read_text())[0]) * 10**6
    )
    assert needed_memory(promised) <= size(resources["limits"]["memory"]) < needed_memory(promised) * 1.2
    assert resources["requests"]["memory"] == resources["limits"]["memory"]
    assert "cpu" not in resources["limits"]
    assert "ALS_IMPORT_MEMORY_MB" not in variables


def needed_memory(file: int) -> int:
    """Return the bytes that a pod needs for a model file, by the formula in the README."""
    (fixed, models, imported) = re.findall(
        r"`(\d+) MB \+ (\d+) × the snapshot \+ (\d+) × the model file`", page("ops/kubernetes/README.md")
    )[0]
    return int(fixed) * 10**6 + (int(models) + int(imported)) * file


def test_models_fit_on_the_volume(pod: Resource, container: Resource) -> None:
    """The volume holds the download, the file and the snapshots of the largest model for which there is memory."""
    volumes = {volume["name"]: size(volume["emptyDir"]["sizeLimit"]) for volume in pod["volumes"]}
    kept = Settings().keep_snapshots
    assert 350 * 10**6 * (2 + kept + 1) <= volumes["models"]
    assert volumes["models"] <= size(container["resources"]["requests"]["ephemeral-storage"])
    assert sum(volumes.values()) <= size(container["resources"]["limits"]["ephemeral-storage"])


def test_a_new_model_everywhere_does_not_add_pods() -> None:
    """All pods import at once, so the autoscaler waits for longer than that burst."""
    spec = one(built(BASE), "HorizontalPodAutoscaler")["spec"]
    assert spec["behavior"]["scaleUp"]["stabilizationWindowSeconds"] >= 120
    assert spec["minReplicas"] >= 3


def test_the_autoscaler_measures_these_pods(container: Resource) -> None:
    """Use of processors is a share of what a pod requests, and nothing else sets the number of pods."""
    spec = one(built(BASE), "HorizontalPodAutoscaler")["spec"]
    deployment = one(built(BASE), "Deployment")
    assert spec["scaleTargetRef"] == {
        "apiVersion": deployment["apiVersion"],
        "kind": "Deployment",
        "name": deployment["metadata"]["name"],
    }
    assert [metric["resource"]["name"] for metric in spec["metrics"]] == ["cpu"]
    assert "cpu" in container["resources"]["requests"]
    assert "replicas" not in one(built(BASE), "Deployment")["spec"]  # two would set them


def test_a_rolling_restart_takes_no_pod_away_first(deployment: Resource) -> None:
    """A new pod is ready before an old one stops, however long it takes to import."""
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    budget = one(built(BASE), "PodDisruptionBudget")["spec"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")


def test_pods_are_spread_over_zones_and_nodes(pod: Resource) -> None:
    """Each generation of pods for itself, and also on a cluster of one node or zone."""
    spread = pod["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in spread] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    for each in spread:
        assert (each["maxSkew"], each["whenUnsatisfiable"]) == (1, "ScheduleAnyway")
        assert each["matchLabelKeys"] == ["pod-template-hash"]


def test_pods_have_the_role_that_may_read_the_bucket(pod: Resource, variables: dict[str, str]) -> None:
    """On EKS: of their ServiceAccount, which the example gives one, with the bucket."""
    account = one(built(EXAMPLE), "ServiceAccount", pod["serviceAccountName"])["metadata"]
    assert re.fullmatch(r"arn:aws:iam::\d{12}:role/\S+", account["annotations"]["eks.amazonaws.com/role-arn"])
    assert variables["ALS_S3_URI"].startswith("s3://")


def test_a_slow_first_import_is_not_a_failed_rollout(deployment: Resource) -> None:
    """A rollout may take as long as one download and one import may."""
    longest = Settings().s3_timeout_seconds + Settings().import_timeout_seconds
    assert deployment["progressDeadlineSeconds"] > longest


def test_pods_meet_the_restricted_standard(pod: Resource, container: Resource) -> None:
    """What Pod Security's restricted level demands, a read-only root, and no token of the cluster."""
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {*pod} & {"hostNetwork", "hostPID", "hostIPC"} == set()
    assert {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]} == {"emptyDir"}
    assert pod["automountServiceAccountToken"] is False
    assert one(built(BASE), "ServiceAccount")["automountServiceAccountToken"] is False
    namespace = one(built(EXAMPLE), "Namespace")
    assert namespace["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}


def test_the_user_is_that_of_the_image_and_may_read_the_token(pod: Resource) -> None:
    """The image's files are meant for its user; the cloud mounts its token for the group of the volumes."""
    user = re.findall(r"^USER (\d+)", page("Dockerfile"), re.MULTILINE)
    assert [str(pod["securityContext"]["runAsUser"])] == user
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]


def test_what_has_to_be_changed_is_in_the_example() -> None:
    """The account, the bucket and the role are in the one directory that people copy."""
    named = {
        path.relative_to(MANIFESTS).parts[0]
        for path in MANIFESTS.rglob("*.yaml")
        if re.search(r"\d{12}|shop-als-models|:role/", path.read_text(encoding="utf-8"))
    }
    assert named == {"example"}


def test_a_changed_setting_restarts_the_pods() -> None:
    """The name of the settings that pods read changes with their content."""
    assert re.fullmatch(r"als-serve-[0-9a-z]{10}", configured())


def test_the_policy_lets_through_what_is_needed(resources: list[Resource]) -> None:
    """Names and S3 go out; the port that is asked is the one that pods have."""
    policies = [each["spec"] for each in resources if each["kind"] == "NetworkPolicy"]
    out = [
        (port["port"], port.get("protocol"))
        for each in policies
        for rule in each.get("egress", [])
        for port in rule["ports"]
    ]
    assert out == [(53, "UDP"), (53, "TCP"), (443, None)]
    (policy,) = (each for each in policies if "Egress" in each["policyTypes"])
    (label,) = re.findall(r"with the label `(\S+): \"true\"`", page("ops/kubernetes/README.md"))
    assert policy["ingress"][0]["from"] == [
        {"podSelector": {}},
        {"namespaceSelector": {"matchLabels": {label: "true"}}},
    ]
    let_in = {port["port"] for each in policies for rule in each["ingress"] for port in rule["ports"]}
    (container,) = one(resources, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert let_in == {port["name"] for port in container["ports"]} == {"http"}
    (served,) = container["ports"]
    assert served["containerPort"] == Settings().port
    assert [port["targetPort"] for port in one(resources, "Service")["spec"]["ports"]] == ["http"]


# ---------------------------------------------------------------- overlays


def test_another_name_and_namespace_reach_every_reference(tmp_path: Path) -> None:
    """An overlay may rename everything: the autoscaler, the account and the settings are found under the new names."""
    resources = with_components(tmp_path, COMPONENTS, namePrefix="eu-", nameSuffix="-1", namespace="shop")
    assert {each["metadata"]["namespace"] for each in resources} == {"shop"}
    assert all(each["metadata"]["name"].startswith("eu-als-serve") for each in resources)
    pod = one(resources, "Deployment", "eu-als-serve-1")["spec"]["template"]["spec"]
    account = one(resources, "ServiceAccount", pod["serviceAccountName"])
    assert "eks.amazonaws.com/role-arn" in account["metadata"]["annotations"]
    (source,) = pod["containers"][0]["envFrom"]
    assert one(resources, "ConfigMap", source["configMapRef"]["name"])
    scaler = one(resources, "HorizontalPodAutoscaler", "eu-als-serve-1")["spec"]
    assert scaler["scaleTargetRef"]["name"] == "eu-als-serve-1"
    assert [each["type"] for each in scaler["metrics"]] == ["Resource", "Pods"]


def test_two_fleets_in_one_namespace_can_be_told_apart(tmp_path: Path) -> None:
    """A label with includeSelectors reaches the pods and every selector, except that of the PodMonitor."""
    label = {"app.kubernetes.io/instance": "eu"}
    labels = [{"pairs": label, "includeSelectors": True}]
    resources = with_components(tmp_path, COMPONENTS, namePrefix="eu-", labels=labels)
    found = {name: each.get("matchLabels", each) for name, each in selectors(resources).items()}
    assert found.pop("PodMonitor eu-als-serve") == LABELS
    assert found == dict.fromkeys(found, LABELS | label)
    assert one(resources, "Deployment", "eu-als-serve")["spec"]["template"]["metadata"]["labels"] == LABELS | label


# ---------------------------------------------------------------- components


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda path: path.name)
def test_a_component_needs_no_other(component: Path, tmp_path: Path) -> None:
    """Each can be added to the base alone."""
    assert len(with_components(tmp_path, [component])) >= len(built(BASE))


def test_the_rules_are_those_of_prometheus() -> None:
    """There is one source: the file is what its generator makes, and has the groups of ops/prometheus."""
    generator, file = ((MONITORING / name).relative_to(ROOT) for name in ("generate.py", "prometheusrule.yaml"))
    made = subprocess.run([sys.executable, generator], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert made == (ROOT / file).read_text("utf-8"), f"python {generator} > {file}"
    sources = sorted((ROOT / "ops" / "prometheus" / "rules").glob("*.yml"))
    groups = [group for path in sources for group in yaml.safe_load(path.read_text("utf-8"))["groups"]]
    assert len(groups) == 2
    assert yaml.safe_load(made)["spec"]["groups"] == groups


def test_prometheus_finds_every_pod_and_its_port(tmp_path: Path) -> None:
    """The monitor asks the named port of these pods, and names each server by its pod."""
    resources = with_components(tmp_path, [MONITORING])
    monitor = one(resources, "PodMonitor")["spec"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("http", "/metrics")
    assert [(each["sourceLabels"], each["targetLabel"]) for each in endpoint["relabelings"]] == [
        (["__meta_kubernetes_pod_name"], "instance")
    ]


def test_the_custom_metric_is_requests_a_second_of_each_pod(tmp_path: Path) -> None:
    """The adapter makes what the autoscaler asks for: requests to the API, without health checks, by pod."""
    component = MANIFESTS / "components" / "custom-metric"
    spec = one(with_components(tmp_path, [component]), "HorizontalPodAutoscaler")["spec"]
    assert [each["type"] for each in spec["metrics"]] == ["Resource", "Pods"]
    (rule,) = yaml.safe_load((component / "prometheus-adapter-values.yaml").read_text("utf-8"))["rules"]["custom"]
    assert spec["metrics"][1]["pods"]["metric"]["name"] == rule["name"]["as"]
    counter = next(row.name for row in table().values() if rule["seriesQuery"].startswith(row.name + "{"))
    query = rule["metricsQuery"]
    for given, put in {"Series": counter, "LabelMatchers": 'namespace="shop"', "GroupBy": "pod"}.items():
        query = query.replace(f"<<.{given}>>", put)
    requests = {("a", "shop", "/v1/users/{user}/recommendations"): 600, ("a", "shop", "/v1/items/popular"): 60}
    requests |= {("b", "shop", "/v1/items/popular"): 120, ("b", "shop", "/healthz"): 30, ("c", "other", "/v1/x"): 60}
    series = {
        f'{counter}{{pod="{pod}", namespace="{space}", route="{route}"}}': f"0+{a_minute}x5"
        for (pod, space, route), a_minute in requests.items()
    }
    # With a sample a minute, a rate needs two minutes.
    prove(query.replace("[1m]", "[2m]"), series, {'{pod="a"}': 11, '{pod="b"}': 2}, tmp_path)
