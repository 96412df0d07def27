"""When nobody uses a Cluster, what is done about it, and what keeps it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dask_k8s_operator.domain.actions import DeleteCluster, Scale
from dask_k8s_operator.domain.autoscale import Autoscale, Demand
from dask_k8s_operator.domain.cluster import Idle, IdleAction
from dask_k8s_operator.domain.idle import still_unused
from dask_k8s_operator.domain.planner import RESYNC, plan
from dask_k8s_operator.domain.rivals import Rivals
from dask_k8s_operator.domain.scaling import minds_rivals, question
from dask_k8s_operator.domain.workload import Question, Workload
from tests.unit.builders import (
    DOWN,
    NOT_ASKED,
    NOW,
    OURS,
    at,
    cluster,
    condition,
    decide,
    follow,
    pods,
    snapshot,
    workers,
)

if TYPE_CHECKING:
    from dask_k8s_operator.domain.actions import Action, Plan
    from dask_k8s_operator.domain.snapshot import NotAsked, Snapshot, Unreachable

AFTER = 600
TO_ZERO = Idle(timedelta(seconds=AFTER), IdleAction.SCALE_TO_ZERO)
DELETE = Idle(timedelta(seconds=AFTER), IdleAction.DELETE)
UNUSED = Workload(Demand(0), tasks=0)
SPEC = Autoscale(minimum=1, maximum=9, up_window=timedelta(0), down_window=timedelta(seconds=30))
ASKED = replace(UNUSED, question=Question(submissions=True))
GENERATION = {"observedGeneration": 3}
REASON = "nobody has used the Cluster since 2026-03-01T12:00:00Z"


def since(decided: Plan) -> datetime | None:
    """What the status is to remember."""
    assert decided.status is not None
    found = decided.status.get("idleSince")
    return datetime.fromisoformat(found) if found else None


def unused(idle: Idle, *, replicas: int = 2, work: Any = UNUSED, **fields: Any) -> Snapshot:
    """The look after the first that found nobody, which was now."""
    seen = snapshot(pods("ab"[:replicas]), replicas=replicas, idle=idle, workload=work, status=GENERATION, **fields)
    return follow(seen, plan(seen, NOW))


def size(decided: Plan) -> list[Action]:
    return [action for action in decided.actions if isinstance(action, Scale | DeleteCluster)]


@pytest.mark.parametrize(
    ("idle", "replicas", "action"),
    [
        (TO_ZERO, 2, Scale(0, REASON)),
        (DELETE, 2, DeleteCluster("uid-cluster", NOW, REASON)),
        (DELETE, 0, DeleteCluster("uid-cluster", NOW, REASON)),
    ],
)
def test_once_nobody_has_used_it_for_long_enough(idle: Idle, replicas: int, action: Action) -> None:
    seen = replace(unused(idle, replicas=replicas), workload=ASKED)
    early = plan(seen, at(AFTER - 1))
    assert (size(early), early.status) == ([], None)
    assert early.requeue_after == timedelta(seconds=1)
    assert size(plan(seen, at(AFTER))) == [action]


@pytest.mark.parametrize(
    "busy",
    [
        pytest.param(Workload(Demand(1, threads=1.0), tasks=1), id="a task runs, or a result is held"),
        pytest.param(Workload(Demand(1), tasks=1), id="a task waits for a worker"),
        pytest.param(Workload(Demand(0, threads=1.0), tasks=7), id="data is held, though no worker is asked for"),
    ],
)
@pytest.mark.parametrize("idle", [TO_ZERO, DELETE])
def test_whatever_somebody_wants_keeps_it(idle: Idle, busy: Workload) -> None:
    seen = replace(unused(idle), workload=replace(busy, question=Question(submissions=True)))
    decided = plan(seen, at(10 * AFTER))
    assert size(decided) == []
    assert since(decided) is None
    assert condition(decided, "Idle") == ("False", "InUse", "there are tasks, or results or data that somebody holds")
    again = follow(seen, decided, workload=ASKED)
    assert since(plan(again, at(10 * AFTER + 1))) == at(10 * AFTER + 1), "the time counts anew"


@pytest.mark.parametrize(("answer", "reason"), [(DOWN, "SchedulerUnreachable"), (NOT_ASKED, "Starting")])
def test_who_cannot_be_asked_may_be_in_use(answer: NotAsked | Unreachable, reason: str) -> None:
    decided = plan(replace(unused(DELETE), workload=answer), at(AFTER))
    assert size(decided) == []
    assert since(decided) is None
    assert condition(decided, "Idle")[:2] == ("Unknown", reason)


def test_work_that_came_and_went_between_two_looks_counts() -> None:
    seen = unused(DELETE)
    assert size(plan(seen, at(AFTER))) == [], "not before the scheduler was asked for it"
    noticed = plan(replace(seen, workload=replace(ASKED, submitted=at(100))), at(AFTER))
    assert size(noticed) == []
    assert since(noticed) == at(100)
    assert noticed.requeue_after <= timedelta(seconds=30)
    before = plan(replace(seen, workload=replace(ASKED, submitted=at(-100))), at(AFTER))
    assert size(before) == [DeleteCluster("uid-cluster", NOW, REASON)]
    ahead = plan(replace(seen, workload=replace(ASKED, submitted=at(9 * AFTER))), at(AFTER))
    assert since(ahead) == at(AFTER), "the scheduler's clock is fast"


def test_whether_work_came_and_went_has_to_be_known_before_it_is_deleted() -> None:
    answer = replace(ASKED, unanswered="no answer")
    seen = replace(unused(DELETE), workload=answer)
    decided = plan(seen, at(AFTER))
    assert size(decided) == []
    assert condition(decided, "Idle") == (
        "Unknown",
        "SchedulerUnreachable",
        "it can't be asked whether work came and went between two looks: no answer",
    )
    assert decided.requeue_after == timedelta(seconds=30), "it is asked again, but not all the time"
    assert size(plan(follow(seen, decided, workload=ASKED), at(AFTER + 30))) == [
        DeleteCluster("uid-cluster", NOW, REASON)
    ]
    assert size(plan(replace(unused(TO_ZERO), workload=answer), at(AFTER))) == [Scale(0, REASON)], "that loses nothing"


@pytest.mark.parametrize(
    ("answer", "still"),
    [
        (ASKED, True),
        (replace(ASKED, submitted=NOW), True),
        (replace(ASKED, submitted=at(1)), False),
        (replace(ASKED, tasks=1), False),
        (replace(ASKED, unanswered="no answer"), False),
    ],
)
def test_it_is_looked_once_more(answer: Workload, still: bool) -> None:
    assert still_unused(NOW, answer) == still


def test_when_the_scheduler_is_asked_for_it() -> None:
    common: dict[str, Any] = {"idle": DELETE, "status": {"idleSince": NOW.isoformat(), **GENERATION}}
    assert question(cluster(0, **common), OURS, (), at(AFTER - 1)) == Question(submissions=False)
    assert question(cluster(0, **common), OURS, (), at(AFTER)) == Question(submissions=True)


def test_a_change_of_the_spec_is_use() -> None:
    """Whoever scales up is about to compute: the new workers don't go before the time is over."""
    seen = replace(unused(DELETE), workload=ASKED)
    changed = replace(seen, cluster=replace(seen.cluster, generation=4, replicas=5))
    decided = plan(changed, at(AFTER))
    assert size(decided) == []
    assert since(decided) == at(AFTER)


OTHERS = (
    "spec.idle leaves the number of workers to another autoscaler of this Cluster, the HorizontalPodAutoscaler mine"
)
UNLISTED = "HorizontalPodAutoscalers can't be listed, and one may scale this Cluster, too: forbidden"


@pytest.mark.parametrize(
    ("rivals", "told"),
    [
        (Rivals(("mine",)), ("False", "HorizontalPodAutoscaler", f"{OTHERS}: have that one scale to zero, or take")),
        (Rivals(unknown="forbidden"), ("Unknown", "AutoscalersUnknown", UNLISTED)),
    ],
)
def test_the_number_of_workers_is_left_to_another_autoscaler(rivals: Rivals, told: tuple[str, str, str]) -> None:
    """At zero it would turn itself off, and bring no workers back."""
    seen = replace(unused(TO_ZERO), workload=ASKED, rivals=rivals)
    decided = plan(seen, at(AFTER))
    assert size(decided) == []
    status, reason, message = condition(decided, "Idle")
    assert (status, reason, message[: len(told[2])]) == told
    assert decided.requeue_after == timedelta(seconds=30), "no event tells when that one is gone"
    assert size(plan(follow(seen, decided), at(2 * AFTER))) == []

    assert size(plan(replace(unused(DELETE), workload=ASKED, rivals=rivals), at(AFTER))) == [
        DeleteCluster("uid-cluster", NOW, REASON)
    ]


def test_how_long_nobody_has_used_it_is_not_forgotten_while_autoscalers_cannot_be_listed() -> None:
    seen = replace(unused(TO_ZERO), workload=ASKED)
    after = follow(seen, plan(replace(seen, rivals=Rivals(unknown="no answer")), at(9)), rivals=Rivals())
    assert size(plan(after, at(AFTER))) == [Scale(0, REASON)]


@pytest.mark.parametrize(
    ("fields", "minds"),
    [
        ({"replicas": 1}, False),
        ({"replicas": 1, "idle": TO_ZERO}, True),
        ({"replicas": 0, "idle": TO_ZERO}, False),
        ({"replicas": 1, "idle": DELETE}, False),
        ({"replicas": 0, "idle": TO_ZERO, "autoscale": SPEC}, True),
    ],
)
def test_when_other_autoscalers_matter(fields: dict[str, Any], minds: bool) -> None:
    assert minds_rivals(cluster(**fields)) == minds


def test_once_it_is_scaled_to_zero_there_is_nothing_to_ask_or_do() -> None:
    assert question(cluster(0, idle=TO_ZERO), OURS, (), NOW) is None
    decided = decide((), replicas=0, idle=TO_ZERO)
    assert size(decided) == []
    assert since(decided) is None
    assert decided.requeue_after == RESYNC
    assert condition(decided, "Idle")[:2] == ("True", "ScaledToZero")
    assert condition(decided, "Idle")[2].startswith("there are no workers: ")
    kept = decide(pods("a"), replicas=0, idle=TO_ZERO, scheduler=workers("a"))
    assert condition(kept, "Idle")[2].startswith("no workers are wanted, and 1 are still there: ")


def test_it_wins_over_the_autoscaler() -> None:
    seen = replace(unused(TO_ZERO, autoscale=SPEC), workload=ASKED)
    assert size(plan(seen, at(40))) == [Scale(1, "the scheduler asks for no more than 1 workers for 30 s")]
    assert size(plan(seen, at(AFTER))) == [Scale(0, REASON)]


@pytest.mark.parametrize(("after", "seconds"), [(1, 1), (20, 5), (100, 10), (86400, 30)])
def test_how_often_it_is_looked(after: int, seconds: int) -> None:
    idle = Idle(timedelta(seconds=after), IdleAction.DELETE)
    decided = decide(pods("a"), replicas=1, idle=idle, workload=UNUSED)
    assert decided.requeue_after == timedelta(seconds=seconds)
    busy = decide(pods("a"), replicas=1, idle=idle, workload=Workload(Demand(1), tasks=1))
    assert busy.requeue_after == timedelta(seconds=max(seconds, 5))
