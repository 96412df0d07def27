"""What users say in a Cluster stands in the manifests that are made from it, but for what is the operator's."""

from __future__ import annotations

from typing import Any

import pytest

from dask_k8s_operator.domain import names
from dask_k8s_operator.domain.cluster import Cluster, InvalidCluster
from dask_k8s_operator.domain.manifests import scheduler_deployment, scheduler_service, worker_pod
from dask_k8s_operator.domain.revision import worker_revision
from tests.unit.written import SHORTEST, cluster


def with_templates(*, scheduler: Any = None, worker: Any = None, service: Any = None) -> Cluster:
    """The shortest Cluster with these templates."""
    return cluster(
        SHORTEST,
        scheduler={"template": scheduler, "service": service},
        workers={"template": worker},
    )


def container(**fields: Any) -> dict[str, Any]:
    """A template that says this of its Dask containers."""
    return {"spec": {"containers": [{"name": name, **fields} for name in ("scheduler", "worker")]}}


def test_labels_and_annotations_of_the_service() -> None:
    role = "dask.charmtx.com/role"
    theirs = {"labels": {"a": "b", role: "mine"}, "annotations": {"c": "d"}}
    found = scheduler_service(cluster(SHORTEST, scheduler={"serviceMetadata": theirs}))["metadata"]
    assert found["labels"] == {"a": "b", "dask.charmtx.com/cluster": "short", role: "scheduler"}
    assert found["annotations"].keys() == {"c", "dask.charmtx.com/applied"}
    other = scheduler_service(cluster(SHORTEST))["metadata"]["annotations"]
    assert found["annotations"]["dask.charmtx.com/applied"] != other["dask.charmtx.com/applied"]


def test_the_old_spelling_of_the_service_account_stays() -> None:
    pod = worker_pod(with_templates(worker={"spec": {"serviceAccount": "research"}}), "w")
    assert pod["spec"]["serviceAccount"] == "research"


@pytest.mark.parametrize("words", [{"command": ["bash", "-c"], "args": ["x"]}, {"command": ["x"]}, {"args": ["x"]}])
def test_a_command_of_the_users_stands_alone(words: dict[str, list[str]]) -> None:
    """Half of theirs and half of ours would be neither; and where theirs listens no probe of ours can know."""
    clusters = with_templates(scheduler=container(**words), worker=container(**words))
    [scheduler, _] = scheduler_deployment(clusters)["spec"]["template"]["spec"]["containers"]
    [worker, _] = worker_pod(clusters, "w")["spec"]["containers"]
    for found in (scheduler, worker):
        assert {key: found[key] for key in ("command", "args") if key in found} == words
    assert "readinessProbe" in scheduler, "the scheduler's port is where workers find it, whatever the command"
    assert "readinessProbe" not in worker


def test_the_users_grace_period_restart_policy_and_hook_win() -> None:
    hook = {"httpGet": {"path": "/leave", "port": 80}}
    template = container(lifecycle={"preStop": hook})
    template["spec"] |= {"terminationGracePeriodSeconds": 5, "restartPolicy": "Never"}
    spec = worker_pod(with_templates(worker=template), "w")["spec"]
    assert (spec["terminationGracePeriodSeconds"], spec["restartPolicy"]) == (5, "Never")
    [worker] = [c for c in spec["containers"] if c["name"] == "worker"]
    assert worker["lifecycle"] == {"preStop": hook}


def test_the_users_labels_and_annotations_are_added_but_ours_stay() -> None:
    template = {
        "metadata": {
            "labels": {"team": "a", names.LABEL_CLUSTER: "of-somebody-else", names.LABEL_ROLE: "king"},
            "annotations": {"prometheus.io/scrape": "true"},
        }
    }
    clusters = with_templates(scheduler=template, worker=template)
    worker = worker_pod(clusters, "w")["metadata"]
    scheduler = scheduler_deployment(clusters)["spec"]["template"]["metadata"]
    assert worker["labels"].pop(names.LABEL_REVISION) == worker_revision(clusters)
    for found, role in ((worker, "worker"), (scheduler, "scheduler")):
        assert found["labels"] == {"team": "a", names.LABEL_CLUSTER: "short", names.LABEL_ROLE: role}
        assert found["annotations"] == {"prometheus.io/scrape": "true"}
    assert (worker["name"], worker["namespace"]) == ("w", "science")


def test_the_dask_container_comes_first_and_others_stay_as_they_are() -> None:
    """Kubectl logs and kubectl exec mean the first one."""
    sidecar = {"name": "sidecar", "image": "proxy:2"}
    template = {"spec": {"containers": [sidecar, {"name": "worker", "tty": True}], "initContainers": [sidecar]}}
    spec = worker_pod(with_templates(worker=template), "w")["spec"]
    assert [c["name"] for c in spec["containers"]] == ["worker", "sidecar"]
    assert spec["containers"][1] == sidecar
    assert spec["initContainers"] == [sidecar]


@pytest.mark.parametrize("empty", [None, {}, {"metadata": None, "spec": None}, {"spec": {"containers": []}}])
def test_an_empty_template_is_no_template(empty: Any) -> None:
    clusters = with_templates(scheduler=empty, worker=empty, service=None)
    assert scheduler_deployment(clusters) == scheduler_deployment(cluster(SHORTEST))
    assert worker_pod(clusters, "w") == worker_pod(cluster(SHORTEST), "w")


class TestImages:
    """From the template, or else from `spec.image`."""

    def test_a_template_wins(self) -> None:
        clusters = with_templates(worker=container(image="mine:2"))
        assert worker_pod(clusters, "w")["spec"]["containers"][0]["image"] == "mine:2"

    def test_a_sidecar_without_one_gets_none(self) -> None:
        """The API server says so; running Dask's image there would hide it."""
        clusters = with_templates(worker={"spec": {"containers": [{"name": "sidecar"}]}})
        assert worker_pod(clusters, "w")["spec"]["containers"][1] == {"name": "sidecar"}

    @pytest.mark.parametrize("none", [None, ""])
    def test_without_any_it_says_where_to_set_one(self, none: str | None) -> None:
        clusters = cluster(SHORTEST, image=none)
        with pytest.raises(InvalidCluster, match=r"no image for the scheduler: set spec\.image, or give spec\.sched"):
            scheduler_deployment(clusters)
        with pytest.raises(InvalidCluster, match=r"no image for the worker: set spec\.image, or give spec\.workers\."):
            worker_pod(clusters, "w")

    def test_one_template_with_an_image_is_not_enough_for_the_other(self) -> None:
        clusters = cluster(SHORTEST, image=None, scheduler={"template": container(image="a")})
        assert scheduler_deployment(clusters)
        with pytest.raises(InvalidCluster, match="no image for the worker"):
            worker_pod(clusters, "w")
