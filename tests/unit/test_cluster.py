"""Reading the resource, and what the status remembers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from dask_k8s_operator.domain.autoscale import Autoscale
from dask_k8s_operator.domain.cluster import (
    Cluster,
    Idle,
    IdleAction,
    InvalidCluster,
    Retirement,
    Retiring,
    SchedulerStrategy,
)
from tests.unit.builders import NOW, address, at, entry, manifest

WINDOW = "spec.workers.autoscale.scaleUp.stabilizationWindowSeconds"


def test_all_of_it() -> None:
    spec = {
        "image": "dask:1",
        "scheduler": {
            "template": {"metadata": {}},
            "service": {"type": "NodePort"},
            "serviceMetadata": {"labels": {"a": "b"}},
            "updateStrategy": {"type": "OnDelete"},
        },
        "workers": {
            "replicas": 4,
            "template": {"spec": {}},
            "retirement": {"drainSeconds": 5, "timeoutSeconds": 60, "onTimeout": "Delete"},
            "autoscale": {
                "minReplicas": 2,
                "maxReplicas": 9,
                "scaleUp": {"stabilizationWindowSeconds": 3},
                "scaleDown": {"stabilizationWindowSeconds": 60},
            },
        },
        "idle": {"afterSeconds": 600, "action": "Delete"},
    }
    status = {"workers": {"retiring": [entry("b").to_status()]}, "conditions": []}
    assert Cluster.from_manifest(manifest(spec, status=status)) == Cluster(
        namespace="science",
        name="team-a",
        uid="uid-cluster",
        resource_version="7",
        generation=3,
        terminating=False,
        image="dask:1",
        scheduler_template={"metadata": {}},
        scheduler_service={"type": "NodePort"},
        replicas=4,
        worker_template={"spec": {}},
        retirement=Retirement(drain=timedelta(seconds=5), timeout=timedelta(seconds=60), delete_on_timeout=True),
        retiring=(entry("b"),),
        status=status,
        autoscale=Autoscale(minimum=2, maximum=9, up_window=timedelta(seconds=3), down_window=timedelta(seconds=60)),
        idle=Idle(after=timedelta(seconds=600), action=IdleAction.DELETE),
        scheduler_update=SchedulerStrategy.ON_DELETE,
        scheduler_service_metadata={"labels": {"a": "b"}},
    )


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"scheduler": None, "workers": None},
        {"scheduler": {}, "workers": {}},
        {"scheduler": {"template": None, "service": None}, "workers": {"template": None}},
    ],
)
def test_what_is_left_out_is_empty(spec: dict[str, Any]) -> None:
    read = Cluster.from_manifest(manifest(spec))
    assert read.image is None
    assert (read.scheduler_template, read.scheduler_service, read.worker_template) == ({}, {}, {})
    assert read.replicas == 1
    assert (read.retiring, read.status) == ((), {})
    assert (read.autoscale, read.idle) == (None, None)
    assert (read.scheduler_update, read.scheduler_service_metadata) == (SchedulerStrategy.WHEN_IDLE, {})


def test_autoscaling_by_a_maximum_alone_and_idleness_by_a_time_alone() -> None:
    read = Cluster.from_manifest(
        manifest({"workers": {"autoscale": {"maxReplicas": 9, "scaleDown": {}}}, "idle": {"afterSeconds": 60}})
    )
    assert read.autoscale == Autoscale(minimum=0, maximum=9, up_window=timedelta(0), down_window=None)
    assert read.idle == Idle(after=timedelta(seconds=60), action=IdleAction.SCALE_TO_ZERO)


def test_one_that_is_being_deleted() -> None:
    assert Cluster.from_manifest(manifest(deletionTimestamp="2026-03-01T12:00:00Z")).terminating


@pytest.mark.parametrize("status", [None, {}, {"workers": {}}, {"workers": {"retiring": []}}])
def test_a_status_that_nobody_wrote_yet(status: dict[str, Any] | None) -> None:
    assert Cluster.from_manifest(manifest() | {"status": status}).retiring == ()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ([], "spec must be an object, but it is []"),
        ({"scheduler": "x"}, "spec.scheduler must be an object, but it is 'x'"),
        ({"workers": 3}, "spec.workers must be an object, but it is 3"),
        ({"scheduler": {"template": []}}, "spec.scheduler.template must be an object, but it is []"),
        ({"scheduler": {"service": 1}}, "spec.scheduler.service must be an object, but it is 1"),
        ({"workers": {"template": "x"}}, "spec.workers.template must be an object, but it is 'x'"),
        ({"workers": {"replicas": -1}}, "spec.workers.replicas must be a whole number from 0 to 10000, but it is -1"),
        ({"workers": {"replicas": 1.5}}, "spec.workers.replicas must be a whole number from 0 to 10000, but it is 1.5"),
        ({"workers": {"replicas": "3"}}, "spec.workers.replicas must be a whole number from 0 to 10000, but it is '3'"),
        (
            {"workers": {"replicas": True}},
            "spec.workers.replicas must be a whole number from 0 to 10000, but it is True",
        ),
        (
            {"workers": {"replicas": None}},
            "spec.workers.replicas must be a whole number from 0 to 10000, but it is None",
        ),
        (
            {"workers": {"autoscale": {"minReplicas": 1}}},
            "spec.workers.autoscale.maxReplicas is missing: set how many workers there may be at most",
        ),
        (
            {"workers": {"autoscale": {"minReplicas": 3, "maxReplicas": 2}}},
            "spec.workers.autoscale.minReplicas must not be more than maxReplicas, but it is 3",
        ),
        (
            {"workers": {"autoscale": {"maxReplicas": 10**12}}},
            f"spec.workers.autoscale.maxReplicas must be a whole number from 1 to 10000, but it is {10**12}",
        ),
        (
            {"workers": {"autoscale": {"maxReplicas": 1, "scaleUp": {"stabilizationWindowSeconds": 9999}}}},
            f"{WINDOW} must be a whole number from 0 to 3600, but it is 9999",
        ),
        (
            {"workers": {"retirement": {"drainSeconds": 10**12}}},
            f"spec.workers.retirement.drainSeconds must be a whole number from 0 to 2147483647, but it is {10**12}",
        ),
        (
            {"workers": {"retirement": {"timeoutSeconds": 0}}},
            "spec.workers.retirement.timeoutSeconds must be a whole number from 1 to 2147483647, but it is 0",
        ),
        (
            {"idle": {"afterSeconds": 10**12}},
            f"spec.idle.afterSeconds must be a whole number from 1 to 2147483647, but it is {10**12}",
        ),
        (
            {"idle": {"afterSeconds": 1, "action": "Stop"}},
            "spec.idle.action must be ScaleToZero or Delete, but it is 'Stop'",
        ),
        (
            {"idle": {"action": "Delete"}},
            "spec.idle.afterSeconds is missing: set for how long nobody must have used the Cluster",
        ),
    ],
)
def test_a_wrong_shape_is_named(spec: Any, message: str) -> None:
    with pytest.raises(InvalidCluster) as error:
        Cluster.from_manifest(manifest() | {"spec": spec})
    assert str(error.value) == message


def test_the_longest_times_can_be_reckoned_with() -> None:
    longest = 2**31 - 1
    spec = {
        "workers": {
            "retirement": {"drainSeconds": longest, "timeoutSeconds": longest, "onTimeout": "Delete"},
            "autoscale": {"maxReplicas": 10_000, "scaleDown": {"stabilizationWindowSeconds": 3600}},
        },
        "idle": {"afterSeconds": longest},
    }
    read = Cluster.from_manifest(manifest(spec))
    assert read.idle is not None
    assert read.retirement.timeout is not None
    assert NOW + read.retirement.drain + read.retirement.timeout + read.idle.after > NOW


class TestRetiring:
    """An entry of `status.workers.retiring`."""

    @pytest.mark.parametrize(
        ("remembered", "told"),
        [
            (entry("b"), {}),
            (entry("b", addresses=()), {"addresses": []}),
            (
                entry("b", asked=-1, peers="abc"),
                {"asked": "2026-03-01T11:59:59+00:00", "attempts": 1, "peers": "abc"},
            ),
            (
                entry("b", asked=-1, attempts=3, moved=True),
                {"asked": "2026-03-01T11:59:59+00:00", "attempts": 3, "peers": "", "moved": True},
            ),
            (
                entry("b", asked=-1, refused=True),
                {"asked": "2026-03-01T11:59:59+00:00", "attempts": 1, "peers": "", "refused": True},
            ),
        ],
    )
    def test_there_and_back(self, remembered: Retiring, told: dict[str, Any]) -> None:
        always = {
            "name": "b",
            "uid": "uid-b",
            "addresses": ["tcp://10.0.0.98:9000"],
            "since": "2026-03-01T11:59:00+00:00",
        }
        assert remembered.to_status() == always | told
        assert Retiring.from_status(remembered.to_status()) == remembered

    def test_what_the_api_server_drops_is_nothing(self) -> None:
        """It stores empty lists, but an older schema may drop a field that it doesn't know."""
        told = {"name": "b", "uid": "uid-b", "since": at(-60).isoformat()}
        assert Retiring.from_status(told) == entry("b", addresses=())

    def test_asking_starts_afresh(self) -> None:
        """Answers were about the worker that was there then; the next one may be another process."""
        before = entry("b", asked=-60, attempts=2, moved=True, refused=True)
        asking = before.asking(now=NOW, addresses=frozenset({address("b", 2), address("b", 1)}), peers="abc")
        assert asking == entry("b", asked=0, attempts=3, peers="abc", addresses=(address("b", 1), address("b", 2)))
