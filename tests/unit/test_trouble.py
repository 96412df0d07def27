"""What a pod's status tells about why it doesn't work."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dask_k8s_operator.domain.hook import prestop_command
from dask_k8s_operator.domain.trouble import (
    SLOW,
    Trouble,
    deployment_trouble,
    find_delay,
    find_trouble,
    handover_trouble,
)

RUNNING = {"running": {"startedAt": "2026-03-01T12:00:00Z"}}
STARTING = {"waiting": {"reason": "ContainerCreating"}}


def container(state: dict[str, Any], *, name: str = "worker", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "dask:2", "state": state, **more}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason} | ({"message": message} if message else {})}


def ended(code: int, reason: str, message: str = "") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


@pytest.mark.parametrize(
    ("state", "trouble"),
    [
        (container(RUNNING), None),
        (container(STARTING), None),
        (container(ended(0, "Completed")), None),
        (
            container(waiting("ImagePullBackOff", 'Back-off pulling image "dask:2"')),
            Trouble("ImagePullBackOff", 'image dask:2: Back-off pulling image "dask:2"'),
        ),
        (
            container(waiting("ImagePullBackOff", 'Back-off pulling image "dask:2": ErrImagePull: no such host')),
            Trouble("ErrImagePull", "image dask:2: no such host"),
        ),
        # Between two of its ends it runs, or is about to; that is no news.
        (container(RUNNING, restartCount=1, ready=False, lastState=ended(1, "Error")), None),
        (container(RUNNING, restartCount=2, ready=True, lastState=ended(1, "Error")), None),
        (container(RUNNING, restartCount=2, ready=False, lastState=ended(0, "Completed")), None),
        *(
            (
                container(state, restartCount=2, ready=False, lastState=ended(1, "Error")),
                Trouble(
                    "CrashLoopBackOff",
                    "image dask:2: the process ends with status 1 again and again (Error): kubectl logs --previous "
                    "tells why",
                ),
            )
            for state in (RUNNING, ended(1, "Error"), waiting("CrashLoopBackOff", "back-off 20s restarting"))
        ),
        (
            container(waiting("CreateContainerConfigError", 'secret "s" not found')),
            Trouble("CreateContainerConfigError", 'image dask:2: secret "s" not found'),
        ),
        (
            container(
                waiting("CrashLoopBackOff", "back-off 10s restarting"),
                lastState=ended(128, "StartError", 'exec: "dask": executable file not found in $PATH'),
            ),
            Trouble(
                "StartError",
                'image dask:2 can\'t start its command: exec: "dask": executable file not found in $PATH',
            ),
        ),
        (
            container(waiting("CrashLoopBackOff", "back-off 10s restarting"), lastState=ended(137, "OOMKilled")),
            Trouble(
                "CrashLoopBackOff",
                "image dask:2: the process ends with status 137 again and again (OOMKilled): kubectl logs --previous "
                "tells why",
            ),
        ),
        (
            container(waiting("ErrImagePull", "no"), name="mesh"),
            Trouble("ErrImagePull", "container mesh: image dask:2: no"),
        ),
    ],
)
def test_of_containers(state: dict[str, Any], trouble: Trouble | None) -> None:
    assert find_trouble({"status": {"containerStatuses": [state]}}, "worker") == trouble


def test_of_pods_that_no_node_takes() -> None:
    waits = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: no cpu"}
    assert find_trouble({"status": {"conditions": [waits]}}, "worker") == Trouble("Unschedulable", "0/1 nodes: no cpu")


def test_of_pods_without_any_status() -> None:
    assert find_trouble({}, "worker") is None


HOOK = {"preStop": {"exec": {"command": prestop_command(300)}}}
DELETED = {"deletionTimestamp": "2026-03-01T12:05:00Z", "deletionGracePeriodSeconds": 300}
DID_NOT_RUN = "its preStop hook did not run: has the image a /bin/sh?"


def left(
    message: str = "",
    *,
    at: str | None = "12:00:01",
    metadata: dict[str, Any] = DELETED,
    lifecycle: dict[str, Any] = HOOK,
    **more: Any,
) -> dict[str, Any]:
    """A pod deleted at 12:00:00, whose worker ended then."""
    time = {"startedAt": "2026-03-01T11:00:00Z", "finishedAt": f"2026-03-01T{at}Z"} if at else {}
    state = {"terminated": ended(143, "Error", message)["terminated"] | time}
    spec = {"containers": [{"name": "sidecar"}, {"name": "worker", "lifecycle": lifecycle, **more}]}
    return {"metadata": metadata, "spec": spec, "status": {"containerStatuses": [container(state)]}}


@pytest.mark.parametrize(
    ("manifest", "trouble"),
    [
        (left("handing over\nno handover: no python\n"), "no python"),
        (left("no handover: no python\n"), "no python"),
        (left("handing over\n"), None),
        (left(), DID_NOT_RUN),
        (left("Killed by the test"), DID_NOT_RUN),
        (left(at="11:59:59"), None),  # it had ended before
        (left(at=None), None),  # the node doesn't know
        (left(metadata={}), None),
        (left(lifecycle={}), None),
        (left(lifecycle={"preStop": {"exec": {"command": ["/bin/true"]}}}), None),
        (left(terminationMessagePath="/tmp/message"), None),
        ({"metadata": DELETED}, None),
    ],
)
def test_of_hooks(manifest: dict[str, Any], trouble: str | None) -> None:
    assert handover_trouble(manifest, "worker") == trouble


@pytest.mark.parametrize(
    ("state", "trouble"), [(RUNNING, "no python"), (STARTING, "no python"), (ended(1, "Error"), None)]
)
def test_of_hooks_of_containers_that_were_restarted(state: dict[str, Any], trouble: str | None) -> None:
    last = ended(143, "Error", "no handover: no python") if trouble else {}
    manifest = {"metadata": {}, "status": {"containerStatuses": [container(state, lastState=last)]}}
    assert handover_trouble(manifest, "worker") == trouble


def pod(state: dict[str, Any] | None = None, *, phase: str = "Pending", **conditions: str) -> dict[str, Any]:
    """A pod made at 12:00 and given a node at 12:01; conditions by their status."""
    kinds = {"Ready": "False"} | conditions
    told = [{"type": k, "status": v, "lastTransitionTime": "2026-03-01T12:01:00Z"} for k, v in kinds.items()]
    status = {"phase": phase, "conditions": told, "containerStatuses": [container(state)] if state else []}
    spec = {"schedulerName": "my", **({"nodeName": "n"} if "PodScheduled" in kinds else {})}
    return {"metadata": {"creationTimestamp": "2026-03-01T12:00:00Z"}, "spec": spec, "status": status}


@pytest.mark.parametrize(
    ("manifest", "reason", "since", "says"),
    [
        (pod(), "Unscheduled", 0, "does the scheduler my run?"),
        (pod(STARTING, PodScheduled="True"), "NotCreated", 1, "an image or a volume"),
        (
            pod({"running": {"startedAt": "2026-03-01T12:02:00Z"}}, PodScheduled="True"),
            "NotReady",
            2,
            "nothing listens",
        ),
    ],
)
def test_what_takes_long(manifest: dict[str, Any], reason: str, since: int, says: str) -> None:
    began = datetime(2026, 3, 1, 12, since, tzinfo=UTC)
    found = find_delay(manifest, "worker")
    assert found is not None
    assert (found.since, found.trouble.reason) == (began, reason)
    assert says in found.trouble.message
    assert found.left(began + timedelta(seconds=20)) == SLOW - timedelta(seconds=20)


@pytest.mark.parametrize(
    "manifest",
    [
        pod(RUNNING, Ready="True"),
        pod(ended(0, "Completed"), phase="Succeeded"),
        # This is more than slow.
        pod(waiting("CrashLoopBackOff"), PodScheduled="True"),
    ],
)
def test_what_doesnt(manifest: dict[str, Any]) -> None:
    assert find_delay(manifest, "worker") is None


def test_a_deployment_that_may_not_make_its_pod() -> None:
    told = 'pods "dask-scheduler-7d-x2x2x" is forbidden: exceeded quota: few, requested: pods=1, used: pods=2'
    failing = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": told}
    found = deployment_trouble({"status": {"conditions": [{"type": "Available", "status": "False"}, failing]}})
    words = "its pod can't be made: exceeded quota: few, requested: pods=1, used: pods=2"
    assert found == Trouble("FailedCreate", words)
    assert deployment_trouble({"status": {"conditions": [{**failing, "status": "False"}]}}) is None
    assert deployment_trouble({}) is None
