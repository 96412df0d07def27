"""The example that a new user starts with."""

from __future__ import annotations

import json

from dask_k8s_operator.domain import names
from dask_k8s_operator.domain.cluster import Cluster
from dask_k8s_operator.domain.manifests import scheduler_deployment, worker_pod
from tests.deploy.files import EXAMPLE, Json, documents, find, of_kind
from tests.deploy.violations import refused, restricted_violations


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
