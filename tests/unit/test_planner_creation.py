"""What is created, and what is cleaned up, to get to the wanted number of workers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dask_k8s_operator.domain.actions import Create, DeletePod
from dask_k8s_operator.domain.planner import POLL, RESYNC, needs_scheduler, plan
from dask_k8s_operator.domain.snapshot import QUICK_EXIT, Owned, Pod
from tests.unit.builders import (
    DOWN,
    NOW,
    address,
    at,
    cluster,
    condition,
    created,
    decide,
    deleted,
    entry,
    finished,
    follow,
    of_kind,
    pending,
    pod,
    pods,
    remembered,
    snapshot,
    workers,
)

FOREIGN = Owned(ours=False, ready=True)

if TYPE_CHECKING:
    from datetime import timedelta

    from dask_k8s_operator.domain.cluster import Retiring


def worker_names(seen_pods: tuple[Pod, ...] = (), **changes: Any) -> list[str]:
    decided = decide(seen_pods, replicas=len(seen_pods) + 3, **changes)
    return [action.name for action in of_kind(Create, decided.actions) if action.kind == "Pod"]


class TestWhatIsMissing:
    """A scheduler, its Service, and as many workers as wanted."""

    def test_a_new_cluster_gets_everything_at_once(self) -> None:
        decided = decide(replicas=3, deployment=None, service=None)
        assert created(decided) == ["Deployment", "Pod", "Pod", "Pod", "Service"]
        assert [str(action) for action in decided.actions[:2]] == [
            "create Deployment team-a-scheduler: the Cluster has no scheduler",
            "create Service team-a-scheduler: the scheduler has no Service",
        ]
        assert {action.reason for action in decided.actions[2:]} == {"fewer workers than the 3 wanted"}

    @pytest.mark.parametrize(
        ("seen", "missing"),
        [
            ({"deployment": None}, ["Deployment"]),
            ({"service": None}, ["Service"]),
            ({"deployment": None, "service": None}, ["Deployment", "Service"]),
            ({}, []),
            # Not ours to replace; the condition says what to do.
            ({"deployment": Owned(ours=False), "service": Owned(ours=False)}, []),
        ],
    )
    def test_scheduler(self, seen: dict[str, Any], missing: list[str]) -> None:
        assert created(decide(pods("ab"), replicas=2, **seen)) == missing

    @pytest.mark.parametrize(
        ("seen", "replicas", "missing"),
        [
            ((), 0, 0),
            ((), 5, 5),
            (pods("ab"), 2, 0),
            (pods("ab"), 5, 3),
            # What is being made counts: it isn't made again.
            ((pod("a"), pending("b")), 2, 0),
            # Somebody deletes a worker: its replacement comes while it can still hand over its data.
            ((pod("a"), pod("b", terminating=True)), 2, 1),
            ((pod("a", terminating=True), pod("b", terminating=True)), 2, 2),
            # Not one more than wanted, however the pods end.
            ((pod("a"), pod("b"), pod("c", terminating=True)), 2, 0),
            ((pod("a"), finished("b"), finished("c")), 2, 1),
            ((pod("a"), finished("b", terminating=True)), 2, 1),
        ],
    )
    def test_workers(self, seen: tuple[Pod, ...], replicas: int, missing: int) -> None:
        decided = decide(seen, replicas=replicas)
        assert created(decided) == ["Pod"] * missing

    @pytest.mark.parametrize(
        "seen",
        [
            {"deployment": FOREIGN},
            {"service": FOREIGN},
            {"deployment": FOREIGN, "service": None},
            {"deployment": None, "service": FOREIGN},
            {"deployment": FOREIGN, "service": FOREIGN},
        ],
    )
    def test_nothing_while_the_schedulers_name_is_taken(self, seen: dict[str, Any]) -> None:
        """Workers would join a scheduler of somebody else; and a Service would lead to it."""
        decided = decide(pods("a"), replicas=3, **seen)
        assert created(decided) == []
        assert condition(decided, "WorkersReady") == (
            "False",
            "NameTaken",
            "1 of 3 workers are ready; none is made while the scheduler's name is taken",
        )
        assert decided.requeue_after < RESYNC, "nothing may tell that it has become free"

    def test_names_of_new_pods_are_those_of_the_cluster_and_differ(self) -> None:
        names = worker_names()
        assert len(set(names)) == len(names) == 3
        assert all(name.startswith("team-a-worker-") for name in names)

    def test_the_same_state_gives_the_same_names(self) -> None:
        """So a creation whose answer was lost, or a second operator, makes no pod too many."""
        assert worker_names(pods("ab")) == worker_names(tuple(reversed(pods("ab"))))

    @pytest.mark.parametrize(
        "other",
        [
            worker_names(pods("ac")),
            worker_names(pods("abc")),
            worker_names(pods("ab"), resource_version="8"),
            worker_names(pods("ab"), uid="uid-of-another-cluster"),
        ],
    )
    def test_another_state_gives_other_names(self, other: list[str]) -> None:
        """Dask turns away a newcomer under a name that it still has."""
        assert not set(worker_names(pods("ab"))) & set(other)

    def test_while_the_cluster_is_deleted_nothing_happens(self) -> None:
        decided = decide(
            (pending("a"), pod("b"), finished("c")), replicas=0, terminating=True, deployment=None, scheduler=DOWN
        )
        assert (decided.status, decided.actions, decided.requeue_after) == (None, (), RESYNC)


class TestFinishedPods:
    """Pods whose worker has ended: cleaned up and replaced, but not in a spin."""

    def test_is_removed_and_replaced(self) -> None:
        decided = decide((pod("a"), finished("b")), replicas=2)
        assert [str(action) for action in of_kind(DeletePod, decided.actions)] == [
            "delete Pod b: it has finished",
        ]
        [deletion] = of_kind(DeletePod, decided.actions)
        assert (deletion.uid, deletion.resource_version) == ("uid-b", "rv-b")
        assert created(decided) == ["Pod"]

    def test_is_removed_whatever_the_scheduler_says(self) -> None:
        assert deleted(decide((pod("a"), pod("b"), finished("c")), replicas=1, scheduler=DOWN)) == ["c"]

    def test_is_not_deleted_twice(self) -> None:
        assert deleted(decide((finished("a", terminating=True),), replicas=0)) == []

    def test_a_retired_one_goes_without_rest_or_replacement(self) -> None:
        """It was asked to exit: that it ran for a short time only says nothing against the command."""
        decided = decide((pod("a"), finished("b", ran=2)), replicas=1, retiring=[entry("b", asked=-3)])
        assert deleted(decided) == ["b"]
        assert created(decided) == []
        assert remembered(decided) == {}

    @pytest.mark.parametrize(
        ("ran", "ended", "rests"),
        [
            (2.0, 1.0, True),
            (2.0, 9.9, True),
            (2.0, 10.0, False),
            (9.9, 1.0, True),
            (10.0, 1.0, False),
            (600.0, 1.0, False),
        ],
    )
    def test_one_that_ended_as_soon_as_it_began_rests(self, ran: float, ended: float, *, rests: bool) -> None:
        """A command that can't work would otherwise spin: a new pod every second."""
        decided = decide((pod("a"), finished("b", ran=ran, ended=ended)), replicas=2)
        assert (created(decided), deleted(decided)) == (([], []) if rests else (["Pod"], ["b"]))
        assert decided.requeue_after == (POLL if rests else RESYNC)

    @pytest.mark.parametrize(("age", "rests"), [(9.0, True), (11.0, False)])
    def test_one_that_never_ran_rests_from_its_creation(self, age: float, *, rests: bool) -> None:
        """A node that refuses pods (Failed without a container status) is no reason to spin either."""
        refused = finished("b", age=age, ran=None, finished_at=None, started=False)
        assert (deleted(decide((pod("a"), refused), replicas=2)) == []) == rests

    def test_rest_ends(self) -> None:
        seen = snapshot((pod("a"), finished("b", ran=1, ended=0)), replicas=2)
        first = plan(seen, NOW)
        later = plan(follow(seen, first), NOW + QUICK_EXIT)
        assert created(first) == []
        assert (created(later), deleted(later)) == (["Pod"], ["b"])

    def test_one_at_rest_keeps_no_other_from_being_replaced(self) -> None:
        assert created(decide((finished("a", ran=1), finished("b", ran=600)), replicas=2)) == ["Pod"]


class TestScaleUp:
    """More wanted while others are on their way out."""

    @pytest.mark.parametrize(
        ("entries", "taken_back", "made"),
        [
            # Never asked: it still works.
            ([entry("b")], True, 0),
            # Asked and refused: it went back to work.
            ([entry("b", asked=-3, refused=True)], True, 0),
            # Asked, and nothing is known: Dask has no way back.
            ([entry("b", asked=-3)], False, 1),
            ([entry("b", asked=-3, moved=True)], False, 1),
        ],
    )
    def test_takes_back_whom_nobody_asked(self, entries: list[Retiring], *, taken_back: bool, made: int) -> None:
        decided = decide(pods("ab"), replicas=2, retiring=entries, scheduler=workers("ab"))
        assert (remembered(decided) == {}) == taken_back
        assert created(decided) == ["Pod"] * made

    def test_takes_back_no_more_than_are_missing(self) -> None:
        decided = decide(pods("abcd"), replicas=2, retiring=[entry(n) for n in "bcd"], scheduler=workers("abcd"))
        assert set(remembered(decided)) == {"c", "d"}

    def test_a_worker_refused_before_is_not_taken_back_while_it_is_asked_again(self) -> None:
        retiring = [entry("b", asked=-30, refused=True)]
        seen = snapshot(pods("ab"), replicas=2, retiring=retiring, scheduler=workers("ab"))
        calls = replace(seen.calls, in_flight=frozenset({address("b")}))
        decided = plan(replace(seen, calls=calls), NOW)
        assert set(remembered(decided)) == {"b"}
        assert created(decided) == ["Pod"]

    def test_takes_back_with_the_scheduler_down(self) -> None:
        decided = decide(pods("ab"), replicas=2, retiring=[entry("b")], scheduler=DOWN)
        assert (remembered(decided), created(decided)) == ({}, [])


class TestInvalidTemplates:
    """Nothing can be made from the spec; what runs goes on."""

    def test_nothing_is_created_and_the_condition_says_why(self) -> None:
        decided = decide(pods("a"), replicas=3, image=None, deployment=None, service=None)
        message = (
            "no image for the scheduler: set spec.image, or give spec.scheduler.template.spec.containers "
            "an item with name: scheduler and an image"
        )
        assert decided.actions == ()
        assert condition(decided, "TemplateValid") == (
            "False",
            "InvalidSpec",
            f"{message}; {message.replace('scheduler', 'worker').replace('spec.worker.', 'spec.workers.')}",
        )
        assert condition(decided, "SchedulerReady") == ("False", "InvalidSpec", message)
        assert condition(decided, "WorkersReady")[1] == "InvalidSpec"
        assert condition(decided, "Ready") == ("False", "InvalidSpec", message)

    def test_running_workers_stay_and_leave_as_usual(self) -> None:
        decided = decide((*pods("ab"), pending("c")), replicas=1, image=None, scheduler=workers("ab"), service=None)
        assert deleted(decided) == ["c"]
        assert set(remembered(decided)) == {"b"}

    def test_a_worker_that_cant_be_made_is_no_fault_of_a_running_scheduler(self) -> None:
        decided = decide(pods("a"), replicas=2, image=None)
        assert condition(decided, "SchedulerReady")[0] == "True"
        message = (
            "no image for the worker: set spec.image, or give spec.workers.template.spec.containers "
            "an item with name: worker and an image"
        )
        assert condition(decided, "WorkersReady") == ("False", "InvalidSpec", message)

    def test_templates_are_judged_though_nothing_is_missing(self) -> None:
        """Before anything is replaced by what they give."""
        assert condition(decide(pods("a"), replicas=1, image=None), "TemplateValid")[1] == "InvalidSpec"


class TestWhenToLookAgain:
    """What isn't told by an event."""

    @pytest.mark.parametrize(
        ("seen", "replicas", "retiring", "after"),
        [
            (pods("a"), 1, [], RESYNC),
            ((), 3, [], RESYNC),
            # Too many: until they are chosen, asked for and gone, nothing else may happen that wakes us.
            (pods("ab"), 1, [], POLL),
            (pods("ab"), 1, [entry("b", asked=-3)], POLL),
        ],
    )
    def test_requeue(self, seen: tuple[Pod, ...], replicas: int, retiring: list[Retiring], after: timedelta) -> None:
        assert decide(seen, replicas=replicas, retiring=retiring, scheduler=workers("ab")).requeue_after == after

    @pytest.mark.parametrize(
        ("seen", "replicas", "retiring", "needed"),
        [
            ((), 1, [], False),
            (pods("ab"), 2, [], False),
            ((*pods("ab"), finished("c"), pod("d", terminating=True, started=False)), 2, [], False),
            ((*pods("ab"), pod("d", terminating=True)), 2, [], True),
            (pods("ab"), 1, [], True),
            (pods("ab"), 2, [entry("b", asked=-3)], True),
        ],
    )
    def test_the_scheduler_is_asked_only_when_something_depends_on_it(
        self, seen: tuple[Pod, ...], replicas: int, retiring: list[Retiring], *, needed: bool
    ) -> None:
        assert needs_scheduler(cluster(replicas, retiring=retiring), seen) == needed


def test_an_entry_of_an_earlier_pod_of_that_name_is_forgotten() -> None:
    again = pod("a", uid="uid-a-the-second")
    decided = decide((again,), replicas=1, retiring=[entry("a", asked=-3, moved=True)], scheduler=workers(""))
    assert (remembered(decided), decided.actions) == ({}, ())


def test_creation_waits_for_no_scheduler() -> None:
    seen = (pod("a"), pod("b", created=at(-60)))
    assert created(decide(seen, replicas=4, scheduler=DOWN)) == ["Pod", "Pod"]
