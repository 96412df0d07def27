"""Who goes when there are too many, in which order, and who may be deleted at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dask_k8s_operator.domain.actions import DeletePod
from dask_k8s_operator.domain.retirement import Holdings
from dask_k8s_operator.domain.snapshot import Listed, Worker
from tests.unit.builders import (
    DOWN,
    NOT_ASKED,
    address,
    addresses,
    asked,
    condition,
    decide,
    deleted,
    entry,
    finished,
    of_kind,
    pending,
    pod,
    pods,
    remembered,
    snapshot,
    workers,
)

if TYPE_CHECKING:
    from dask_k8s_operator.domain.cluster import Retiring
    from dask_k8s_operator.domain.snapshot import Pod, SchedulerView

STRANGER = Worker("someone-else", "tcp://192.0.2.1:4000")
NEVER_RAN = "no scheduler has run that could have given it data"
NO_SCHEDULER_PROCESS = {"scheduler_pods": (pending("scheduler"),)}


def with_stranger(names: str) -> Listed:
    return Listed((*workers(names).workers, STRANGER))


@pytest.mark.parametrize(
    ("seen", "replicas", "first", "then"),
    [
        # The newest of equals.
        (pods("abc"), 2, "", "c"),
        (pods("abc"), 1, "", "bc"),
        (pods("abc"), 0, "", "abc"),
        ((pod("b", age=60), pod("a", age=60)), 1, "", "b"),
        # What never started has no data, so it goes at once and before all others.
        ((pending("a", age=9000), *pods("bc")), 2, "a", ""),
        ((pending("a", age=9000), *pods("bc")), 1, "a", "c"),
        ((pending("a"), pending("b", age=4), *pods("cd")), 3, "b", ""),
        # What the scheduler doesn't know has none either, but was nearer to working than what never started.
        ((pod("x", age=9000), *pods("bc")), 2, "x", ""),
        ((pod("x"), pending("y"), *pods("bc")), 3, "y", ""),
        ((pod("x"), pending("y"), *pods("bc")), 2, "yx", ""),
        # Users' own ranking of those that hold data, lowest first.
        ((pod("a", deletion_cost=-1), *pods("bc")), 2, "", "a"),
        ((pod("a", age=60, deletion_cost=1), *pods("bc")), 1, "", "bc"),
        ((pod("x", deletion_cost=100), *pods("bc")), 2, "x", ""),
    ],
)
def test_order(seen: tuple[Pod, ...], replicas: int, first: str, then: str) -> None:
    registered = "".join(pod.name for pod in seen if pod.started and pod.name != "x")
    decided = decide(seen, replicas=replicas, scheduler=workers(registered))
    assert "".join(deleted(decided)) == first
    assert set(remembered(decided)) == set(then)


def test_a_pod_that_goes_at_once_goes_by_uid_and_as_it_was_read() -> None:
    """The kubelet may have started it since: then the pod has another resourceVersion, and stays."""
    decided = decide((pod("a"), pending("b")), replicas=1, scheduler=workers("a"))
    assert decided.actions == (
        DeletePod(
            name="b",
            uid="uid-b",
            resource_version="rv-b",
            reason="more workers than wanted, and it never started, so it holds no data",
        ),
    )


@pytest.mark.parametrize(
    ("state", "view", "around", "reason"),
    [
        ({"started": False}, DOWN, {}, "it never started, so it holds no data"),
        ({"started": False}, NOT_ASKED, {}, "it never started, so it holds no data"),
        ({}, workers("a"), {}, "the scheduler doesn't know it, so it holds no data"),
        ({}, DOWN, NO_SCHEDULER_PROCESS, NEVER_RAN),
        ({}, DOWN, {"scheduler_pods": ()}, NEVER_RAN),
        # Restarted before it ended, perhaps, but gone for good now.
        (
            {},
            DOWN,
            {"scheduler_pods": (pod("s", finished=True),)},
            NEVER_RAN,
        ),
        ({}, DOWN, {}, None),
        ({}, NOT_ASKED, {}, None),
        ({}, NOT_ASKED, NO_SCHEDULER_PROCESS, None),
        # One that never started beside one that did: the latter may know of keys.
        ({}, DOWN, {"scheduler_pods": (pending("s"), pod("t"))}, None),
        # Started once, and being started again at the moment, or on its way out: it may answer in a second.
        ({}, DOWN, {"scheduler_pods": (pod("s", ready=False),)}, None),
        ({}, DOWN, {"scheduler_pods": (pod("s", terminating=True),)}, None),
        ({}, workers("ab"), {}, None),
        # Somebody in the list fits no pod. It may be this one's.
        ({}, with_stranger("a"), {}, None),
        # Not being ready says nothing about data.
        ({"ready": False}, workers("ab"), {}, None),
    ],
)
def test_who_may_be_deleted_at_once(
    state: dict[str, Any], view: SchedulerView, around: dict[str, Any], reason: str | None
) -> None:
    seen = (pod("a"), pod("b", age=1, **state))
    decided = decide(seen, replicas=1, scheduler=view, **around)
    expected = [] if reason is None else [("b", f"more workers than wanted, and {reason}")]
    assert [(action.name, action.reason) for action in of_kind(DeletePod, decided.actions)] == expected


def test_a_finished_pod_holds_nothing_whatever_else_is_so() -> None:
    seen = snapshot((finished("a"),), replicas=0, scheduler=DOWN)
    assert Holdings.of(seen).why_deletable(seen.worker_pods[0]) == "it has finished"


@pytest.mark.parametrize("view", [DOWN, NOT_ASKED])
def test_without_a_scheduler_to_ask_no_started_worker_is_chosen(view: SchedulerView) -> None:
    decided = decide((*pods("abc"), pending("d")), replicas=1, scheduler=view)
    assert deleted(decided) == ["d"]
    assert remembered(decided) == {}
    assert asked(decided) == frozenset()


def test_with_the_scheduler_down_the_condition_says_who_stays_and_why() -> None:
    decided = decide((*pods("abc"), pending("d")), replicas=1, scheduler=DOWN, retiring=[entry("c", asked=-9)])
    assert condition(decided, "ScaleDownBlocked") == (
        "True",
        "DataHeld",
        "2 workers too many stay until the scheduler can be asked to move their data: the scheduler can't be reached",
    )


def test_strangers_keep_those_in_doubt_but_not_the_registered() -> None:
    """Worker `c` may have registered under a name and an address of its own making."""
    decided = decide(pods("abc"), replicas=0, scheduler=with_stranger("ab"))
    assert deleted(decided) == []
    assert asked(decided) == addresses("ab")
    message = (
        "1 worker too many stay, because the scheduler lists workers that fit no pod by IP or name "
        "(tcp://192.0.2.1:4000) and one of them may be theirs: pass --name=$(DASK_WORKER_NAME) to dask worker"
    )
    assert condition(decided, "ScaleDownBlocked") == ("True", "DataHeld", message)


def test_strangers_dont_matter_to_whom_the_scheduler_said_it_let_go() -> None:
    gone = entry("b", asked=-9, moved=True)
    decided = decide(pods("ab"), replicas=1, scheduler=with_stranger("a"), retiring=[gone])
    assert deleted(decided) == ["b"]


@pytest.mark.parametrize(
    ("retiring", "replicas", "new"),
    [
        # Those on their way out count as gone.
        ([entry("c", asked=-1)], 2, ""),
        ([entry("c", asked=-1)], 1, "b"),
        ([entry("a", asked=-1), entry("c")], 1, ""),
    ],
)
def test_nobody_is_chosen_for_somebody_who_is_going_already(retiring: list[Retiring], replicas: int, new: str) -> None:
    decided = decide(pods("abc"), replicas=replicas, scheduler=workers("abc"), retiring=retiring)
    assert set(remembered(decided)) == {e.name for e in retiring} | set(new)


def test_finished_pods_are_neither_chosen_nor_counted() -> None:
    seen = (*pods("ab"), pod("c", age=1, finished=True))
    decided = decide(seen, replicas=2, scheduler=workers("abc"))
    assert remembered(decided) == {}
    assert asked(decided) == frozenset()


def test_a_pod_with_several_workers_goes_with_all_of_them() -> None:
    several = Listed((Worker("b-0", address("b", 9000)), Worker("b-1", address("b", 9001)), *workers("a").workers))
    decided = decide(pods("ab"), replicas=1, scheduler=several)
    assert asked(decided) == {address("b", 9000), address("b", 9001)}
    assert remembered(decided)["b"].addresses == (address("b", 9000), address("b", 9001))


def test_a_pod_whose_second_worker_is_still_registered_stays() -> None:
    gone = replace(entry("b", asked=-1, moved=True), addresses=(address("b", 9000), address("b", 9001)))
    one_left = Listed((Worker("b-1", address("b", 9001)), *workers("a").workers))
    assert deleted(decide(pods("ab"), replicas=1, scheduler=one_left, retiring=[gone])) == []
