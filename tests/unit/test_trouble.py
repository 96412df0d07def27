"""What a pod's status tells about why it doesn't work."""

from __future__ import annotations

from typing import Any

import pytest

from dask_k8s_operator.domain.trouble import Trouble, find_trouble, handover_trouble

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


@pytest.mark.parametrize(
    ("state", "trouble"),
    [
        ({"state": ended(143, "Error", "no handover: no python\n")}, "no python"),
        ({"state": RUNNING, "lastState": ended(143, "Error", "no handover: no python")}, "no python"),
        ({"state": ended(143, "Error", "Killed by the test")}, None),
        ({"state": RUNNING}, None),
        ({}, None),
    ],
)
def test_of_hooks(state: dict[str, Any], trouble: str | None) -> None:
    assert handover_trouble(state) == trouble
