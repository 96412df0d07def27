"""How the operator is installed: what it may do, how it runs, how the files are put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from dask_k8s_operator.cli import main
from dask_k8s_operator.domain import names
from tests.deploy.files import BASE, EXAMPLE, ROOT, Json, documents, find, of_kind
from tests.deploy.violations import restricted_violations

if TYPE_CHECKING:
    from pathlib import Path

OVERLAYS = [ROOT / "deploy", ROOT / "deploy" / "all-namespaces", ROOT / "deploy" / "several-namespaces"]
SEVERAL = OVERLAYS[2]
PARTS = [BASE, ROOT / "deploy" / "rights", ROOT / "deploy" / "namespace", *sorted(SEVERAL.glob("*/"))]
ACCESS = [BASE / "account.yaml", ROOT / "deploy" / "rights" / "rbac.yaml"]


@pytest.fixture(scope="module")
def deployment() -> Json:
    return of_kind(BASE / "deployment.yaml", "Deployment")


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


def run_options(args: list[str]) -> Json:
    """The options that the command line makes of a container's arguments."""
    command, *options = args
    return main.commands[command].make_context(command, options).params
