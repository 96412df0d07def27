"""How many workers a Cluster asks for itself: what `spec.workers.autoscale` and `spec.idle` come to together. Pure.

Either sets `spec.workers.replicas` through the scale subresource, as any autoscaler does. So what `kubectl get` shows
is what is aimed at, and scale-downs go the way of all scale-downs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from dask_k8s_operator.domain.actions import DeleteCluster, Scale
from dask_k8s_operator.domain.autoscale import Memory, Workforce, decide
from dask_k8s_operator.domain.cluster import IdleAction
from dask_k8s_operator.domain.conditions import SUSPENDED, Condition
from dask_k8s_operator.domain.idle import is_due, judge, sleeps, unused
from dask_k8s_operator.domain.matching import match_workers
from dask_k8s_operator.domain.schedulerupdate import awaits_idleness, no_tasks_since
from dask_k8s_operator.domain.snapshot import NotAsked, Unreachable
from dask_k8s_operator.domain.workload import Question, Workload

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from dask_k8s_operator.domain.autoscale import Autoscale, Decision
    from dask_k8s_operator.domain.cluster import Cluster
    from dask_k8s_operator.domain.snapshot import Owned, Pod, Snapshot, Worker

CONDITION = "Autoscaling"

POLL = timedelta(seconds=5)
"""How often it is decided anew at least: as often as Dask wants the work to be done (`target-duration`)."""


@dataclass(frozen=True)
class Scaling:
    """What the Cluster is to do about its own size.

    Attributes:
        action: what to write; None: nothing.
        memory: what the autoscaler is to remember; None: it is off.
        idle_since: since when nobody has used the Cluster, to be remembered.
        conditions: what a person is told, of what is switched on.
        again: when to look again.
    """

    action: Scale | DeleteCluster | None = None
    memory: Memory | None = None
    idle_since: datetime | None = None
    conditions: tuple[Condition, ...] = ()
    again: timedelta | None = None

    def replicas_of(self, cluster: Cluster) -> int:
        """How many workers are wanted once that is written."""
        return self.action.replicas if isinstance(self.action, Scale) else cluster.wanted


def question(cluster: Cluster, scheduler: Owned | None, pods: Iterable[Pod], now: datetime) -> Question | None:
    """What to ask the scheduler about its work; None: nothing, because nothing depends on it or it can't answer yet."""
    if cluster.terminating or scheduler is None or not scheduler.ready:
        return None
    restarts = awaits_idleness(cluster, scheduler)
    scales = cluster.autoscale is not None and not cluster.suspended
    may_sleep = cluster.idle is not None and not sleeps(cluster) and not cluster.suspended
    ends = cluster.suspended and not tuple(pods)
    if not (scales or may_sleep or restarts or ends):
        return None
    learnt = _memory(cluster).learn(_workforce(cluster, pods, now), threads=None)
    return Question(
        pace=learnt.pace if scales else None,
        submissions=is_due(cluster, now) or (restarts and no_tasks_since(cluster) is not None),
        registered=scales,
    )


def minds_rivals(cluster: Cluster) -> bool:
    """Whether it matters if another autoscaler scales the Cluster."""
    to_zero = cluster.idle is not None and cluster.idle.action is IdleAction.SCALE_TO_ZERO
    return cluster.autoscale is not None or (to_zero and not sleeps(cluster))


def scale(snapshot: Snapshot, now: datetime) -> Scaling:
    """Decide what the Cluster is to do about its own size."""
    cluster = snapshot.cluster
    if cluster.suspended:
        return _rest(cluster)
    scaling = Scaling() if cluster.autoscale is None else _follow_demand(cluster.autoscale, snapshot, now)
    if cluster.idle is None:
        return scaling
    verdict = judge(cluster.idle, snapshot, now)
    scaling = replace(
        scaling,
        idle_since=verdict.since,
        conditions=(*scaling.conditions, verdict.condition),
        again=min((time for time in (scaling.again, verdict.again) if time is not None), default=None),
    )
    if verdict.since is None or not verdict.over:
        return scaling
    if cluster.idle.action is IdleAction.DELETE:
        return replace(scaling, action=DeleteCluster(cluster.uid, verdict.since, unused(verdict.since)))
    memory = scaling.memory.forget_levels() if scaling.memory else None
    return replace(scaling, action=Scale(0, unused(verdict.since)), memory=memory)


def _rest(cluster: Cluster) -> Scaling:
    """What is remembered while the Cluster is suspended: how long workers take to start."""
    if cluster.autoscale is None:
        return Scaling()
    message = "the number of workers stays as it is while spec.suspend is true"
    why_not = Condition(CONDITION, "False", SUSPENDED, message)
    return Scaling(memory=_memory(cluster).forget_levels(), conditions=(why_not,))


def _follow_demand(spec: Autoscale, snapshot: Snapshot, now: datetime) -> Scaling:
    cluster, work, rivals = snapshot.cluster, snapshot.workload, snapshot.rivals
    registered = work.registered if isinstance(work, Workload) else None
    force, memory = _workforce(cluster, snapshot.worker_pods, now, registered), _memory(cluster)
    why_not = None
    if objection := rivals.objection("spec.workers.autoscale", "remove one of the two"):
        why_not = Condition(CONDITION, *objection)
    elif isinstance(work, NotAsked):
        why_not = Condition(CONDITION, "Unknown", "Starting", "the scheduler isn't ready")
    elif isinstance(work, Unreachable):
        message = f"the number of workers stays as it is: {work.reason}"
        why_not = Condition(CONDITION, "Unknown", "SchedulerUnreachable", message)
    if why_not is not None or isinstance(work, NotAsked | Unreachable):
        forgotten = memory.learn(force, threads=None).forget_levels()
        return Scaling(memory=forgotten, conditions=(why_not,) if why_not else (), again=POLL)
    decision = decide(
        # One that sleeps is woken by its tasks, not by its minimum.
        replace(spec, minimum=0) if sleeps(cluster) else spec,
        work.demand,
        force,
        replicas=cluster.replicas,
        memory=memory.learn(force, threads=work.demand.threads),
        now=now,
    )
    return Scaling(
        action=Scale(decision.replicas, decision.reason) if decision.replicas != cluster.replicas else None,
        memory=decision.memory,
        conditions=(_condition(decision),),
        again=POLL if decision.again is None else min(decision.again, POLL),
    )


@dataclass(frozen=True)
class Expectation:
    """What a scheduler said of its work when its Cluster's size was last decided.

    Attributes:
        target: how many workers it asked for.
        maximum: more than so many there can't be.
    """

    target: int
    maximum: int

    def of(self, work: Workload) -> Expectation:
        """The same for another answer."""
        return replace(self, target=work.demand.target)

    def met_by(self, work: Workload) -> bool:
        """Whether nothing else would be decided because of this answer."""
        return min(work.demand.target, self.maximum) == min(self.target, self.maximum)


def expectation(snapshot: Snapshot) -> Expectation | None:
    """What the scheduler is expected to say again; None: nothing is to be decided by it."""
    spec, work = snapshot.cluster.autoscale, snapshot.workload
    if spec is None or snapshot.cluster.suspended or snapshot.rivals.names or not isinstance(work, Workload):
        return None
    return Expectation(work.demand.target, spec.maximum)


def _condition(decision: Decision) -> Condition:
    """What the autoscaler is at, in words that stay the same as long as it doesn't change its mind."""
    replicas, memory = decision.replicas, decision.memory
    # Not what is decided already, and only remembered until it is written.
    for level in memory.below(replicas)[:1]:
        message = (
            f"{replicas} workers are kept: no more than {level.replicas} have been needed since {_at(level.since)}"
        )
        return Condition(CONDITION, "True", "Holding", message)
    for level in memory.above(replicas)[:1]:
        message = f"{replicas} workers: at least {level.replicas} have been needed since {_at(level.since)}"
        return Condition(CONDITION, "True", "Stabilizing", message)
    return Condition(CONDITION, "True", "Following", f"{replicas} workers, by what the scheduler asks for")


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _workforce(
    cluster: Cluster, pods: Iterable[Pod], now: datetime, registered: Iterable[Worker] | None = None
) -> Workforce:
    """Who is there to work: not those on their way out."""
    pods, leaving = list(pods), {entry.uid for entry in cluster.retiring}
    matched = None if registered is None else match_workers(pods, registered)[0]
    return Workforce.of((pod for pod in pods if pod.uid not in leaving), now, matched)


def _memory(cluster: Cluster) -> Memory:
    return Memory.from_status(cluster.status.get("workers", {}).get("autoscale", {}))
