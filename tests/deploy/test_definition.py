"""The CustomResourceDefinition: its schema, and what kubectl makes of it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dask_k8s_operator.domain import names
from dask_k8s_operator.domain.autoscale import Level, Memory, Pace
from dask_k8s_operator.domain.cluster import Cluster, IdleAction, Retiring
from dask_k8s_operator.domain.planner import plan
from dask_k8s_operator.domain.snapshot import Snapshot
from deploy import crd as definition
from tests.deploy.violations import refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.deploy.files import Json

FREE = (".spec.scheduler.template.spec", ".spec.workers.template.spec", ".spec.scheduler.service")
"""Where a newer Kubernetes may know more fields than we do."""

APPLY_LIMIT = 250_000
"""Bytes of JSON that `kubectl apply` can keep in an annotation (256 KiB for all annotations together)."""

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


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


def without_words(node: Any) -> Any:
    """A schema without what is said differently of different roles."""
    if isinstance(node, dict):
        words = {"description", "x-kubernetes-validations"}
        return {key: without_words(value) for key, value in node.items() if key not in words}
    return [without_words(item) for item in node] if isinstance(node, list) else node
