"""What is read of pods and owned objects, and which worker belongs to which pod."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dask_k8s_operator.domain.matching import match_workers
from dask_k8s_operator.domain.snapshot import Owned, Pod, Worker, owned_by
from dask_k8s_operator.domain.trouble import Delay, Trouble
from tests.unit.builders import address, finished, ip, pod

CREATED = "2026-03-01T11:00:00Z"


def manifest(status: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    """A worker pod as the API server gives it."""
    usual = {"name": "w", "uid": "u", "resourceVersion": "5", "creationTimestamp": CREATED}
    return {"metadata": usual | metadata, "spec": {"schedulerName": "my"}} | (
        {} if status is None else {"status": status}
    )


def container(state: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """The status of a pod whose Dask container is in this state."""
    return {"containerStatuses": [{"name": "worker", "state": state or {}, **more}]}


def read(status: dict[str, Any] | None = None, **metadata: Any) -> Pod:
    """The pod as it is read."""
    return Pod.from_manifest(manifest(status, **metadata), container="worker")


def test_a_pod_that_has_just_been_made() -> None:
    assert read() == Pod(
        name="w",
        uid="u",
        resource_version="5",
        ip=None,
        created=datetime(2026, 3, 1, 11, tzinfo=UTC),
        started=False,
        ready=False,
        finished=False,
        terminating=False,
        delay=Delay(
            datetime(2026, 3, 1, 11, tzinfo=UTC),
            Trouble("Unscheduled", "nobody chooses a node for it: does the scheduler my run?"),
        ),
        reachable=False,
    )


def test_a_pod_that_works() -> None:
    status = container({"running": {"startedAt": CREATED}}) | {
        "phase": "Running",
        "podIP": "10.1.2.3",
        "conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"}],
    }
    found = read(status)
    assert (found.ip, found.started, found.ready, found.finished, found.live) == ("10.1.2.3", True, True, False, True)


@pytest.mark.parametrize(
    ("status", "started"),
    [
        (None, False),
        ({"phase": "Pending"}, False),
        (container({"waiting": {"reason": "ContainerCreating"}}), False),
        (container({"waiting": {"reason": "ImagePullBackOff"}}), False),
        (container({"running": {}}), True),
        (container({"terminated": {"exitCode": 1}}), True),
        # Between two starts: there was a process, and it may have left children or data in others' tasks.
        (container({"waiting": {"reason": "CrashLoopBackOff"}}, lastState={"terminated": {}}), True),
        (container({"waiting": {}}, restartCount=1), True),
        (container({"waiting": {}}, restartCount=0, lastState={}), False),
        # Somebody else's container.
        ({"containerStatuses": [{"name": "sidecar", "state": {"running": {}}}]}, False),
    ],
)
def test_started(status: dict[str, Any] | None, *, started: bool) -> None:
    assert read(status).started == started


@pytest.mark.parametrize(
    ("phase", "over"),
    [("Pending", False), ("Running", False), ("Unknown", False), ("Succeeded", True), ("Failed", True)],
)
def test_finished(phase: str, *, over: bool) -> None:
    found = read({"phase": phase})
    assert (found.finished, found.live) == (over, not over)


ENDED_WELL, ENDED_BADLY = {"terminated": {"exitCode": 0}}, {"terminated": {"exitCode": 1}}
RULES = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [0]}}]


@pytest.mark.parametrize(
    ("policy", "own", "state", "over"),
    [
        ("OnFailure", {}, ENDED_WELL, True),
        ("OnFailure", {}, ENDED_BADLY, False),
        ("Never", {}, ENDED_BADLY, True),
        ("Always", {}, ENDED_WELL, False),
        ("Always", {"restartPolicy": "Never"}, ENDED_BADLY, True),
        ("Never", {"restartPolicy": "OnFailure"}, ENDED_BADLY, False),
        ("Never", {"restartPolicy": "OnFailure", "restartPolicyRules": RULES}, ENDED_WELL, False),
        ("Never", {}, {"running": {}}, False),
        ("Never", {}, {"waiting": {}}, False),
    ],
)
def test_finished_while_a_container_beside_it_runs_on(
    policy: str, own: dict[str, Any], state: dict[str, Any], *, over: bool
) -> None:
    """The phase is Running as long as any container is."""
    beside = {"name": "beside", "state": {"running": {}}}
    status = {"phase": "Running", "containerStatuses": [beside, {"name": "worker", "state": state}]}
    spec = {"restartPolicy": policy, "containers": [{"name": "worker", **own}, {"name": "beside"}]}
    found = Pod.from_manifest({**manifest(status), "spec": {**spec, "nodeName": "node"}}, container="worker")
    assert found.finished == over


def test_a_container_beside_it_that_ended_is_nobodys_end() -> None:
    states = [{"name": "beside", "state": ENDED_WELL}, {"name": "worker", "state": {"running": {"startedAt": CREATED}}}]
    spec = {"restartPolicy": "OnFailure", "containers": [{"name": "worker"}, {"name": "beside"}], "nodeName": "node"}
    status = {"phase": "Running", "containerStatuses": states}
    assert not Pod.from_manifest({**manifest(status), "spec": spec}, container="worker").finished


def test_terminating() -> None:
    found = read({"phase": "Running"}, deletionTimestamp=CREATED)
    assert (found.terminating, found.live) == (True, False)
    assert found.killed_at == datetime.fromisoformat(CREATED), "the API server gives the end of the grace period"


@pytest.mark.parametrize("conditions", [[], [{"type": "Ready", "status": "False"}], [{"type": "X", "status": "True"}]])
def test_not_ready(conditions: list[dict[str, str]]) -> None:
    assert not read({"conditions": conditions}).ready


@pytest.mark.parametrize(
    ("begun", "ready", "restarts", "seconds"),
    [
        pytest.param("11:00:40", "11:01:10", 0, 70, id="it has been ready ever since"),
        pytest.param("11:00:40", "11:15:40", 0, 940, id="a worker that takes its time"),
        pytest.param("11:00:40", "12:59:00", 0, None, id="its node was lost for a while, two hours later"),
        pytest.param("12:58:55", "12:59:00", 1, None, id="its container was restarted, two hours later"),
        pytest.param(None, "11:01:10", 0, None, id="nobody says when it began"),
        pytest.param("11:00:40", None, 0, None, id="nobody says when it was ready"),
    ],
)
def test_how_long_it_took_to_start(begun: str | None, ready: str | None, restarts: int, seconds: float | None) -> None:
    def time(text: str | None) -> str | None:
        return None if text is None else f"2026-03-01T{text}Z"

    running = container({"running": {"startedAt": time(begun)}}, restartCount=restarts)
    found = read(running | {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": time(ready)}]})
    assert found.startup == (None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("begun", "ready", "since", "reachable"),
    [
        pytest.param("11:00:40", "True", "11:01:10", True, id="it is ready"),
        pytest.param("11:00:40", "False", "11:00:05", False, id="it has not been ready"),
        pytest.param("11:00:40", "False", "11:00:40", False, id="nor the process that runs now"),
        pytest.param("11:00:40", "False", "11:09:00", True, id="it has been ready"),
        pytest.param("11:00:40", None, None, True, id="nobody says"),
        pytest.param(None, "False", "11:00:05", False, id="it doesn't run"),
    ],
)
def test_whether_others_may_have_reached_it(
    begun: str | None, ready: str | None, since: str | None, *, reachable: bool
) -> None:
    state = {"running": {"startedAt": f"2026-03-01T{begun}Z"}} if begun else {"waiting": {"reason": "CrashLoopBackOff"}}
    found = [{"type": "Ready", "status": ready, "lastTransitionTime": f"2026-03-01T{since}Z"}] if ready else []
    assert read(container(state) | {"conditions": found}).reachable == reachable


def test_how_long_a_finished_one_ran() -> None:
    ended = {"startedAt": "2026-03-01T11:00:05Z", "finishedAt": "2026-03-01T11:00:12Z"}
    found = read(container({"terminated": ended}) | {"phase": "Succeeded"})
    assert found.ran_seconds == 7
    assert found.finished_at == datetime(2026, 3, 1, 11, 0, 12, tzinfo=UTC)


@pytest.mark.parametrize("ended", [{}, {"startedAt": None, "finishedAt": None}, {"finishedAt": CREATED}])
def test_a_node_that_doesnt_know_how_long_it_ran(ended: dict[str, Any]) -> None:
    assert read(container({"terminated": ended})).ran_seconds is None


@pytest.mark.parametrize(
    ("annotations", "cost"),
    [
        ({}, 0),
        ({"controller.kubernetes.io/pod-deletion-cost": "-10"}, -10),
        ({"controller.kubernetes.io/pod-deletion-cost": "cheap"}, 0),
        ({"controller.kubernetes.io/pod-deletion-cost": ""}, 0),
    ],
)
def test_deletion_cost(annotations: dict[str, str], cost: int) -> None:
    assert read(annotations=annotations).deletion_cost == cost


@pytest.mark.parametrize(
    ("owners", "ours"),
    [
        ([], False),
        ([{"uid": "me", "controller": True}], True),
        ([{"uid": "other", "controller": True}], False),
        # Owned, but controlled by somebody else or by nobody.
        ([{"uid": "me"}], False),
        ([{"uid": "me", "controller": False}, {"uid": "other", "controller": True}], False),
    ],
)
def test_ownership(owners: list[dict[str, Any]], *, ours: bool) -> None:
    assert owned_by({"metadata": {"ownerReferences": owners}}, "me") == ours
    manifest = {"metadata": {"ownerReferences": owners, "resourceVersion": "7"}}
    assert Owned.from_manifest(manifest, owner_uid="me").ours == ours


OF_TEAM_A = {"dask.charmtx.com/cluster": "team-a"}


@pytest.mark.parametrize(
    ("labels", "owner", "expected"),
    [
        (OF_TEAM_A, {"kind": "Cluster", "name": "team-a", "uid": "me"}, (True, False, False)),
        (OF_TEAM_A, {"kind": "Cluster", "name": "team-a", "uid": "earlier"}, (False, True, False)),
        (OF_TEAM_A, {"kind": "Release", "name": "team-a", "uid": "other"}, (False, False, False)),
        (OF_TEAM_A, None, (False, False, True)),
        ({}, None, (False, False, False)),
    ],
)
def test_what_is_left_of_an_earlier_cluster(
    labels: dict[str, str], owner: dict[str, Any] | None, expected: tuple[bool, bool, bool]
) -> None:
    owners = [{**owner, "controller": True}] if owner else []
    metadata = {"resourceVersion": "7", "labels": labels, "ownerReferences": owners}
    found = Owned.from_manifest({"metadata": metadata}, owner_uid="me")
    assert (found.ours, found.going, found.left_behind) == expected


def test_ownership_of_what_nobody_owns() -> None:
    assert not owned_by({"metadata": {}}, "me")


@pytest.mark.parametrize(
    ("status", "ready"),
    [
        ({}, False),
        ({"updatedReplicas": 1, "availableReplicas": 0}, False),
        ({"updatedReplicas": 1, "availableReplicas": 1}, True),
        # What it says is of the scheduler that is about to go.
        ({"updatedReplicas": 1, "availableReplicas": 1, "observedGeneration": 1}, False),
        ({"availableReplicas": 1, "observedGeneration": 2}, False),
        ({"updatedReplicas": 1, "availableReplicas": 1, "observedGeneration": 2}, True),
    ],
)
def test_a_deployment_is_ready_when_its_scheduler_is(status: dict[str, int], *, ready: bool) -> None:
    assert Owned.from_manifest({"metadata": {"generation": 2}, "status": status}, owner_uid="me").ready == ready


@pytest.mark.parametrize(
    ("workers", "pods", "belongs", "strangers"),
    [
        ([], [pod("a")], {}, []),
        ([("a", address("a"))], [pod("a"), pod("b")], {"a": [address("a")]}, []),
        # The IP can't be chosen by the worker, so it wins over the name.
        ([("b", address("a"))], [pod("a"), pod("b")], {"a": [address("a")]}, []),
        ([("17", address("a"))], [pod("a")], {"a": [address("a")]}, []),
        # By name where the address says nothing: hostNetwork, NAT, several pods on one IP.
        ([("a", "tcp://192.0.2.1:9000")], [pod("a")], {"a": ["tcp://192.0.2.1:9000"]}, []),
        (
            [("a", "tcp://192.0.2.1:1"), ("b", "tcp://192.0.2.1:2")],
            [pod("a", ip="192.0.2.1"), pod("b", ip="192.0.2.1")],
            {"a": ["tcp://192.0.2.1:1"], "b": ["tcp://192.0.2.1:2"]},
            [],
        ),
        (
            [("x", "tcp://192.0.2.1:1")],
            [pod("a", ip="192.0.2.1"), pod("b", ip="192.0.2.1")],
            {},
            ["tcp://192.0.2.1:1"],
        ),
        # --nworkers: several workers in one pod.
        (
            [("a-0", address("a", 1)), ("a-1", address("a", 2))],
            [pod("a")],
            {"a": [address("a", 1), address("a", 2)]},
            [],
        ),
        ([("a-0", "tcp://192.0.2.1:1")], [pod("a")], {"a": ["tcp://192.0.2.1:1"]}, []),
        ([("a-b-0", "tcp://192.0.2.1:1")], [pod("a"), pod("a-b")], {"a-b": ["tcp://192.0.2.1:1"]}, []),
        # A name that only looks like one.
        (
            [("a1", "tcp://192.0.2.1:1"), ("", "tcp://192.0.2.2:1")],
            [pod("a")],
            {},
            ["tcp://192.0.2.1:1", "tcp://192.0.2.2:1"],
        ),
        # A finished pod's IP may be somebody else's by now.
        ([("z", address("a"))], [finished("a")], {}, [address("a")]),
        ([("z", address("a"))], [finished("a"), pod("b", ip=ip("a"))], {"b": [address("a")]}, []),
        # One that is going still has its worker.
        ([("a", address("a"))], [pod("a", terminating=True)], {"a": [address("a")]}, []),
        # Pods without an IP yet share nothing.
        ([("z", "inproc://x")], [pod("a", ip=None)], {}, ["inproc://x"]),
        ([("a", "tls://10.0.0.97:9000")], [pod("a")], {"a": ["tls://10.0.0.97:9000"]}, []),
        ([("z", "tcp://[fd00::1]:9000")], [pod("a", ip="fd00::1")], {"a": ["tcp://[fd00::1]:9000"]}, []),
    ],
)
def test_matching(
    workers: list[tuple[str, str]], pods: list[Pod], belongs: dict[str, list[str]], strangers: list[str]
) -> None:
    expected = {f"uid-{name}": frozenset(addresses) for name, addresses in belongs.items()}
    assert match_workers(pods, [Worker(*worker) for worker in workers]) == (expected, frozenset(strangers))
