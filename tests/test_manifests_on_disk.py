"""The files of `deploy/` and `example/` fit each other and the code: what can be said of them without an API server."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from dask_k8s_operator.cli import main
from dask_k8s_operator.domain import names
from dask_k8s_operator.domain.autoscale import Level, Memory, Pace
from dask_k8s_operator.domain.cluster import Cluster, IdleAction, Retiring
from dask_k8s_operator.domain.manifests import scheduler_deployment, worker_pod
from dask_k8s_operator.domain.planner import plan
from dask_k8s_operator.domain.snapshot import Snapshot
from deploy import crd as definition

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
BASE = ROOT / "deploy" / "base"
OVERLAYS = [ROOT / "deploy", ROOT / "deploy" / "all-namespaces", ROOT / "deploy" / "several-namespaces"]
SEVERAL = OVERLAYS[2]
PARTS = [BASE, ROOT / "deploy" / "rights", ROOT / "deploy" / "namespace", *sorted(SEVERAL.glob("*/"))]
ACCESS = [BASE / "account.yaml", ROOT / "deploy" / "rights" / "rbac.yaml"]
EXAMPLE = ROOT / "example" / "base"

FREE = (".spec.scheduler.template.spec", ".spec.workers.template.spec", ".spec.scheduler.service")
"""Where a newer Kubernetes may know more fields than we do."""

APPLY_LIMIT = 250_000
"""Bytes of JSON that `kubectl apply` can keep in an annotation (256 KiB for all annotations together)."""

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

Json = dict[str, Any]


def documents(path: Path) -> list[Json]:
    return list(yaml.safe_load_all(path.read_text()))


def of_kind(path: Path, kind: str) -> Json:
    """The first of the kind, which is the main one."""
    return next(document for document in documents(path) if document["kind"] == kind)


@pytest.fixture(scope="module")
def crd() -> Json:
    return of_kind(BASE / "crd.yaml", "CustomResourceDefinition")


@pytest.fixture(scope="module")
def version(crd: Json) -> Json:
    (version,) = crd["spec"]["versions"]
    return dict(version)


@pytest.fixture(scope="module")
def schema(version: Json) -> Json:
    return dict(version["schema"]["openAPIV3Schema"])


@pytest.fixture(scope="module")
def deployment() -> Json:
    return of_kind(BASE / "deployment.yaml", "Deployment")


@pytest.fixture(scope="module")
def example() -> Json:
    """The example's Cluster as the API server would hold it."""
    cluster = of_kind(EXAMPLE / "cluster.yaml", "Cluster")
    cluster["metadata"] |= {"namespace": "ns", "uid": "u", "resourceVersion": "1", "generation": 1}
    return cluster


def is_free(path: str) -> bool:
    """Whether it is in such a place."""
    return path in FREE or path.startswith(tuple(f"{place}." for place in FREE))


def walk(node: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Every level of a schema with its path; the items of a list have `[]` in theirs, the values of a map `{}`."""
    yield path, node
    children = {f"{path}.{key}": value for key, value in node.get("properties", {}).items()}
    if "items" in node:
        children[f"{path}[]"] = node["items"]
    if isinstance(node.get("additionalProperties"), dict):
        children[f"{path}{{}}"] = node["additionalProperties"]
    for child_path, child in children.items():
        yield from walk(child, child_path)


def refused(node: Json, value: Any, path: str = "") -> list[str]:
    """What strict validation against this schema would refuse: the paths of unknown fields and of wrong types."""
    types = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    if "type" in node and type(value) is not types[node["type"]]:
        return [f"{path}: not {node['type']}"]
    if isinstance(value, list):
        return [line for item in value for line in refused(node["items"], item, f"{path}[]")]
    if not isinstance(value, dict) or "additionalProperties" in node or node == {"type": "object"}:
        return []
    found = [f"{path}.{name}: missing" for name in node.get("required", ()) if name not in value]
    for name, child in value.items():
        if name in node.get("properties", {}):
            found += refused(node["properties"][name], child, f"{path}.{name}")
        elif not node.get("x-kubernetes-preserve-unknown-fields"):
            found.append(f"{path}.{name}: unknown")
    return found


def without_words(node: Any) -> Any:
    """A schema without what is said differently of different roles."""
    if isinstance(node, dict):
        words = {"description", "x-kubernetes-validations"}
        return {key: without_words(value) for key, value in node.items() if key not in words}
    return [without_words(item) for item in node] if isinstance(node, list) else node


def restricted_violations(spec: Json) -> list[str]:
    """Where a pod spec breaks the restricted Pod Security Standard, as far as it concerns the fields used here.

    https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    """
    pod = spec.get("securityContext", {})
    found = []
    if pod.get("runAsNonRoot") is not True or pod.get("runAsUser") == 0:
        found.append("runs as root")
    if pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        found.append("no seccomp profile")
    found += [key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    found += [f"volume {volume['name']}" for volume in spec.get("volumes", ()) if "hostPath" in volume]
    for container in spec["containers"]:
        context = container.get("securityContext", {})
        if context.get("allowPrivilegeEscalation") is not False:
            found.append(f"{container['name']} allows privilege escalation")
        if context.get("capabilities") != {"drop": ["ALL"]}:
            found.append(f"{container['name']} keeps capabilities")
    return found


class TestResourceDefinition:
    """The schema, and what kubectl makes of it."""

    def test_has_the_names_that_the_operator_uses(self, crd: Json, version: Json) -> None:
        assert crd["metadata"]["name"] == f"{names.PLURAL}.{names.GROUP}"
        assert crd["spec"]["group"] == names.GROUP
        assert crd["spec"]["scope"] == "Namespaced"
        assert crd["spec"]["names"]["kind"] == names.KIND
        assert crd["spec"]["names"]["plural"] == names.PLURAL
        assert crd["spec"]["names"]["categories"] == ["dask"]
        assert version["name"] == names.VERSION

    def test_fits_into_the_annotation_of_kubectl_apply(self, crd: Json) -> None:
        assert len(json.dumps(crd)) < APPLY_LIMIT

    def test_is_what_its_source_gives(self) -> None:
        types = json.loads(definition.TYPES.read_text())
        assert definition.RESULT.read_text() == definition.compose(definition.SOURCE.read_text(), types)

    def test_every_level_has_a_type_and_ours_have_a_description(self, schema: Json) -> None:
        for path, node in walk(schema):
            quantity = "pattern" in node and node.get("x-kubernetes-preserve-unknown-fields")
            assert [kind for kind in ("type", "x-kubernetes-int-or-string") if kind in node] or quantity, path
            ours = not is_free(path) or path in FREE
            if ours and path != ".metadata" and not path.endswith("{}"):
                assert node.get("description"), path

    def test_any_field_of_a_template_may_be_null(self, schema: Json) -> None:
        """Which takes a default of ours away; tools that write templates give null, too, for what they leave out."""
        others = re.compile(
            r".*(\.spec\.containers|containers\[\]\.(name|image|ports)|service\.(selector|ports|ports\[\]\.name))"
        )
        for path, node in walk(schema):
            above = path.rpartition(".")[0]
            if is_free(above) and path[-1] not in "]}":
                # Where a rule looks, and at an enum, null is dropped by the API server, as if it were left out.
                assert node.get("nullable") or "enum" in node or others.fullmatch(path), path

    def test_nothing_of_a_template_is_required_that_has_a_default(self, schema: Json) -> None:
        fields = dict(walk(schema))
        for path in FREE:
            assert "required" not in fields[path]
        assert fields[".spec.workers.template.spec.containers[]"]["required"] == ["name"]

    def test_every_level_says_what_it_holds(self, schema: Json) -> None:
        for path, node in walk(schema):
            if node.get("type") == "array":
                assert "items" in node, path
            if node.get("type") == "integer" and not is_free(path):
                assert "minimum" in node, path
                assert node["format"] in {"int32", "int64"}, path
            for name in node.get("required", ()):
                assert name in node["properties"], path

    def test_unknown_fields_are_taken_inside_pod_and_service_specs_alone(self, schema: Json) -> None:
        for path, node in walk(schema):
            if "x-kubernetes-preserve-unknown-fields" in node:
                assert is_free(path), path
            elif is_free(path):
                assert "properties" not in node, path

    def test_both_templates_have_the_same_schema(self, schema: Json) -> None:
        scheduler, workers = (
            schema["properties"]["spec"]["properties"][section]["properties"]["template"]
            for section in ("scheduler", "workers")
        )
        assert without_words(scheduler) == without_words(workers)

    def test_scale_subresource_reads_fields_that_exist(self, version: Json, schema: Json) -> None:
        fields = dict(walk(schema))
        scale = version["subresources"]["scale"]
        assert fields[scale["specReplicasPath"]]["type"] == "integer"
        assert fields[scale["statusReplicasPath"]]["type"] == "integer"
        assert fields[scale["labelSelectorPath"]]["type"] == "string"

    def test_number_of_workers_is_always_set(self, schema: Json) -> None:
        # Without it the scale subresource answers with an error.
        workers = schema["properties"]["spec"]["properties"]["workers"]
        assert workers["default"] == {}
        assert workers["properties"]["replicas"]["default"] == 1

    def test_printer_columns_show_fields_that_exist(self, version: Json, schema: Json) -> None:
        fields = {path: node["type"] for path, node in walk(schema) if "type" in node}
        fields[".metadata.creationTimestamp"] = "date"  # of every resource, and no part of the schema
        columns = version["additionalPrinterColumns"]
        assert [c["name"] for c in columns] == [
            "Desired",
            "Ready",
            "Updated",
            "Retiring",
            "Scheduler",
            "State",
            "Age",
            "Address",
        ]
        assert [c["name"] for c in columns if c.get("priority")] == ["Address"]  # with -o wide
        for column in columns:
            assert fields[column["jsonPath"]] == column["type"], column["name"]

    def test_keeps_everything_that_a_retirement_has_to_remember(self, schema: Json) -> None:
        # The API server drops a field of the status that the schema doesn't know, without a word.
        entry = Retiring(
            name="w",
            uid="u",
            addresses=("tcp://a",),
            since=NOW,
            asked=NOW,
            attempts=2,
            peers="p",
            drained=NOW,
            moved=True,
            refused=True,
        )
        fields = schema["properties"]["status"]["properties"]["workers"]["properties"]["retiring"]["items"]
        assert refused(fields, entry.to_status()) == []
        assert entry.to_status().keys() == fields["properties"].keys()

    def test_keeps_everything_that_the_autoscaler_has_to_remember(self, schema: Json) -> None:
        level = (Level(2, NOW),)
        memory = Memory(enough=level, wanted=level, replicas=3, pace=Pace(startup=timedelta(seconds=60), threads=2))
        fields = schema["properties"]["status"]["properties"]["workers"]["properties"]["autoscale"]
        assert refused(fields, memory.to_status()) == []
        assert memory.to_status().keys() == fields["properties"].keys()

    def test_takes_the_status_that_a_plan_writes(self, schema: Json, example: Json) -> None:
        snapshot = Snapshot(
            cluster=Cluster.from_manifest(example), deployment=None, service=None, scheduler_pods=(), worker_pods=()
        )
        status = plan(snapshot, NOW).status
        assert status is not None
        assert refused(schema["properties"]["status"], dict(status)) == []
        assert schema["properties"]["status"]["properties"].keys() - status.keys() == {"idleSince"}

    def test_autoscaling_and_idleness_by_one_number_each(self, schema: Json) -> None:
        spec = schema["properties"]["spec"]["properties"]
        autoscale = spec["workers"]["properties"]["autoscale"]
        assert (autoscale["required"], autoscale["properties"]["minReplicas"]["default"]) == (["maxReplicas"], 0)
        (rule,) = autoscale["x-kubernetes-validations"]
        assert rule["rule"] == "!has(self.minReplicas) || self.minReplicas <= self.maxReplicas"
        assert spec["idle"]["required"] == ["afterSeconds"]
        action = spec["idle"]["properties"]["action"]
        assert (action["enum"], action["default"]) == (list(IdleAction), IdleAction.SCALE_TO_ZERO)

    @pytest.mark.parametrize(
        ("spec", "complaint"),
        [
            ({"worker": {}}, ".spec.worker: unknown"),
            ({"workers": {"replica": 1}}, ".spec.workers.replica: unknown"),
            ({"workers": {"replicas": "1"}}, ".spec.workers.replicas: not integer"),
            ({"workers": {"template": {"metadata": {"name": "w"}}}}, ".spec.workers.template.metadata.name: unknown"),
            (
                {"scheduler": {"template": {"spec": {"containers": [{"name": "scheduler", "args": "dask"}]}}}},
                ".spec.scheduler.template.spec.containers[].args: not array",
            ),
            (
                {"workers": {"template": {"spec": {"containers": [{"image": "i"}]}}}},
                ".spec.workers.template.spec.containers[].name: missing",
            ),
            (
                {"workers": {"template": {"spec": {"tolerations": [{"tolerationSeconds": "5"}]}}}},
                ".spec.workers.template.spec.tolerations[].tolerationSeconds: not integer",
            ),
        ],
    )
    def test_refuses_misspelt_fields_and_wrong_types(self, schema: Json, spec: Json, complaint: str) -> None:
        assert refused(schema, {"spec": spec}) == [complaint]

    def test_takes_fields_of_a_pod_that_it_does_not_list(self, schema: Json) -> None:
        container = {"name": "worker", "resources": {"later": {"cpu": 1}}, "env": [{"name": "A", "later": {}}]}
        template = {"spec": {"later": "p", "tolerations": [{"later": "k"}], "containers": [container]}}
        assert refused(schema, {"spec": {"workers": {"template": template}}}) == []


class TestRights:
    """What the operator may do."""

    def test_are_these_and_no_others(self) -> None:
        granted = {
            (group, resource, verb)
            for file in ACCESS
            for role in documents(file)
            for rule in role.get("rules", [])
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }
        read = ["get", "list", "watch"]
        assert granted == {
            *((names.GROUP, names.PLURAL, verb) for verb in [*read, "delete"]),
            (names.GROUP, f"{names.PLURAL}/scale", "patch"),
            ("autoscaling", "horizontalpodautoscalers", "list"),
            (names.GROUP, f"{names.PLURAL}/status", "patch"),
            *(("", "pods", verb) for verb in [*read, "create", "delete"]),
            *(("apps", "deployments", verb) for verb in [*read, "create", "patch"]),
            *(("", "services", verb) for verb in [*read, "create", "patch"]),
            *(("", "events", verb) for verb in ["create", "patch"]),
            ("dask.charmtx.com", "clusters/finalizers", "update"),
            *(("coordination.k8s.io", "leases", verb) for verb in ["get", "create", "update"]),
        }

    def test_reach_the_operator(self, deployment: Json) -> None:
        account = of_kind(BASE / "account.yaml", "ServiceAccount")["metadata"]["name"]
        for file in ACCESS:
            role, binding = of_kind(file, "Role")["metadata"]["name"], of_kind(file, "RoleBinding")
            assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account}]
            assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role}
        assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == account


class TestOperatorDeployment:
    """How the operator runs."""

    def test_runs_without_privileges(self, deployment: Json) -> None:
        spec = deployment["spec"]["template"]["spec"]
        assert restricted_violations(spec) == []
        assert spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True

    def test_selects_its_own_pods(self, deployment: Json) -> None:
        selected = deployment["spec"]["selector"]["matchLabels"].items()
        assert selected <= deployment["spec"]["template"]["metadata"]["labels"].items()

    def test_one_operator_at_a_time(self, deployment: Json) -> None:
        assert deployment["spec"]["replicas"] == 1
        assert "--lease" in deployment["spec"]["template"]["spec"]["containers"][0]["args"]

    def test_asks_for_resources(self, deployment: Json) -> None:
        resources = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]
        assert resources["requests"].keys() == {"cpu", "memory"}
        assert resources["limits"].keys() == {"memory"}

    def test_watches_its_own_namespace(self, deployment: Json) -> None:
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        (variable,) = container["env"]
        assert variable["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}
        args = [arg.replace(f"$({variable['name']})", "here") for arg in container["args"]]
        assert run_options(args)["namespaces"] == ("here",)

    def test_probes_the_port_that_the_operator_listens_on(self, deployment: Json) -> None:
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        (port,) = container["ports"]
        assert run_options(container["args"])["health_address"] == f"0.0.0.0:{port['containerPort']}"
        assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": port["name"]}
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": port["name"]}


class TestKustomizations:
    """How the files are put together."""

    @pytest.mark.parametrize("folder", [*OVERLAYS, *PARTS, EXAMPLE], ids=lambda folder: str(folder.relative_to(ROOT)))
    def test_refer_to_files_that_exist(self, folder: Path) -> None:
        kustomization = of_kind(folder / "kustomization.yaml", "Kustomization")
        for entry in [*kustomization["resources"], *kustomization.get("configurations", ())]:
            assert (folder / entry).exists(), entry

    @pytest.mark.parametrize("folder", OVERLAYS, ids=lambda folder: folder.name)
    def test_set_the_image_that_the_deployment_names(self, folder: Path, deployment: Json) -> None:
        (image,) = of_kind(folder / "kustomization.yaml", "Kustomization")["images"]
        used = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        assert image["name"] == used.partition(":")[0]

    def test_all_namespaces_patches_fields_that_exist(self, deployment: Json) -> None:
        kustomization = of_kind(OVERLAYS[1] / "kustomization.yaml", "Kustomization")
        rbac = {document["kind"]: document for document in documents(ACCESS[1])}
        targets = {**rbac, "Deployment": deployment}
        for patch in kustomization["patches"]:
            for operation in yaml.safe_load(patch["patch"]):
                assert find(targets[patch["target"]["kind"]], operation["path"]) is not None, operation

    def test_all_namespaces_watches_all_of_them(self) -> None:
        kustomization = of_kind(OVERLAYS[1] / "kustomization.yaml", "Kustomization")
        operations = [o for patch in kustomization["patches"] for o in yaml.safe_load(patch["patch"])]
        (args,) = [o["value"] for o in operations if o["path"].endswith("/args")]
        assert run_options(args)["all_namespaces"] is True
        namespace = of_kind(ROOT / "deploy" / "namespace" / "namespace.yaml", "Namespace")
        assert namespace["metadata"]["name"] == kustomization["namespace"]

    def test_several_namespaces_watches_those_that_it_has_rights_in(self) -> None:
        operator = of_kind(SEVERAL / "operator" / "kustomization.yaml", "Kustomization")
        changes = [change for patch in operator["patches"] for change in yaml.safe_load(patch["patch"])]
        (args,) = [change["value"] for change in changes if change["path"].endswith("/args")]
        folders = [folder for folder in SEVERAL.glob("*/") if folder.name != "operator"]
        granted = {of_kind(folder / "kustomization.yaml", "Kustomization")["namespace"] for folder in folders}
        assert set(run_options(args)["namespaces"]) == granted == {folder.name for folder in folders}
        assert set(of_kind(SEVERAL / "kustomization.yaml", "Kustomization")["resources"]) == {"operator", *granted}

    def test_several_namespaces_grants_to_the_account_of_its_operator(self) -> None:
        home = of_kind(SEVERAL / "operator" / "kustomization.yaml", "Kustomization")["namespace"]
        for namespace in ("team-a", "team-b"):
            (patch,) = of_kind(SEVERAL / namespace / "kustomization.yaml", "Kustomization")["patches"]
            (change,) = yaml.safe_load(patch["patch"])
            assert (change["path"], change["value"]) == ("/subjects/0/namespace", home)


class TestExample:
    """The cluster that a new user starts with."""

    def test_fits_the_schema(self, schema: Json) -> None:
        assert refused(schema, of_kind(EXAMPLE / "cluster.yaml", "Cluster")) == []

    def test_pods_run_without_privileges(self, example: Json) -> None:
        cluster = Cluster.from_manifest(example)
        assert restricted_violations(scheduler_deployment(cluster)["spec"]["template"]["spec"]) == []
        assert restricted_violations(worker_pod(cluster, "w")["spec"]) == []

    def test_image_is_set_in_one_place(self, example: Json) -> None:
        (image,) = of_kind(EXAMPLE / "kustomization.yaml", "Kustomization")["images"]
        assert image["name"] == example["spec"]["image"]
        assert "image" not in json.dumps([example["spec"][section] for section in ("scheduler", "workers")])

    def test_disruption_budget_keeps_the_scheduler(self, example: Json) -> None:
        budget = of_kind(EXAMPLE / "pdb.yaml", "PodDisruptionBudget")
        scheduler = scheduler_deployment(Cluster.from_manifest(example))["spec"]["template"]["metadata"]["labels"]
        assert budget["spec"]["maxUnavailable"] == 0
        assert budget["spec"]["selector"]["matchLabels"] == scheduler

    def test_prefix_and_image_reach_fields_that_exist(self) -> None:
        (fields,) = documents(EXAMPLE / "cluster-fields.yaml")
        (references,) = fields["nameReference"]
        (image,) = fields["images"]
        assert (references["group"], references["kind"]) == (image["group"], image["kind"]) == (names.GROUP, names.KIND)
        assert find(of_kind(EXAMPLE / "cluster.yaml", "Cluster"), image["path"]) is not None
        (path,) = [f["path"] for f in references["fieldSpecs"] if f["kind"] == "PodDisruptionBudget"]
        found = find(of_kind(EXAMPLE / "pdb.yaml", "PodDisruptionBudget"), path)
        assert found == of_kind(EXAMPLE / "cluster.yaml", "Cluster")["metadata"]["name"]


def run_options(args: list[str]) -> Json:
    """The options that the command line makes of a container's arguments."""
    command, *options = args
    return main.commands[command].make_context(command, options).params


def find(document: Any, path: str) -> Any:
    r"""What a kustomize field path (`\/` stands for a slash in a name) or a JSON pointer leads to, or None."""
    for part in path.replace(r"\/", "\0").strip("/").split("/"):
        name = part.replace("\0", "/")
        if isinstance(document, list):
            document = document[int(name)] if int(name) < len(document) else None
        else:
            document = (document or {}).get(name)
    return document
