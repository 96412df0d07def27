"""How workers of an earlier template are replaced: how many are made, how many of which go, and how far it is. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from dask_k8s_operator.domain import names
from dask_k8s_operator.domain.retirement import Choice, Holdings, choose
from dask_k8s_operator.domain.revision import is_current, outdated, worker_revision
from dask_k8s_operator.domain.trouble import ENDED_AT_ONCE

if TYPE_CHECKING:
    from datetime import datetime

    from dask_k8s_operator.domain.cluster import Cluster
    from dask_k8s_operator.domain.snapshot import Pod, Snapshot

DEADLINE = timedelta(minutes=10)
"""A new worker that doesn't work after this time is taken for one that never will, as for a Deployment."""

ROLLED_OUT, ROLLING, STALLED = "RolloutComplete", "NewRevisionProgressing", "Stalled"

_MINUTES = f"{DEADLINE.seconds // 60} minutes"


@dataclass(frozen=True)
class Turnover:
    """What changes in the number of workers.

    Attributes:
        wanted: how many are to come.
        excess: how many are to go.
        choice: who goes; fewer than `excess` where nothing can be known about the rest.
    """

    wanted: int
    excess: int
    choice: Choice


def is_rolling(cluster: Cluster, pods: tuple[Pod, ...]) -> bool:
    """Whether workers of an earlier template are to be replaced."""
    return cluster.update.rolling and not cluster.suspended and bool(outdated(cluster, pods))


def plain(staying: list[Pod], holdings: Holdings, *, target: int, old: frozenset[str]) -> Turnover:
    """What changes where no worker is replaced for its template.

    Args:
        staying: the live pods that aren't retiring.
        holdings: who may hold data.
        target: how many there should be.
        old: the uids of those of an earlier template.
    """
    excess = max(len(staying) - target, 0)
    return Turnover(max(target - len(staying), 0), excess, choose(staying, holdings, excess, outdated=old))


def roll(
    cluster: Cluster, staying: list[Pod], holdings: Holdings, *, target: int, old: frozenset[str], leaving: int
) -> Turnover:
    """What changes while workers of an earlier template are replaced.

    There are never more than target + surge, retiring ones included, and no old one goes that would leave fewer than
    target - unavailable that work. So a template that gives no working pod stops after its first ones. As in a
    Deployment, old pods that don't work go first, but only as many as new ones that don't work leave room for: a
    broken template isn't a reason to give up an old worker that may recover.

    Args:
        cluster: for `spec.workers.updateStrategy`.
        staying: the live pods that aren't retiring.
        holdings: who may hold data.
        target: how many there should be.
        old: the uids of those of an earlier template.
        leaving: how many of those are retiring.
    """
    surge, unavailable = cluster.update.bounds(target)
    before = [pod for pod in staying if pod.uid in old]
    after = [pod for pod in staying if pod.uid not in old]
    working = [pod for pod in staying if _works(pod, holdings)]
    least = target - unavailable

    # A scale-down may have left more that are retiring: those are not the rollout's.
    room = target + surge - len(staying) - min(leaving, surge + unavailable)
    useless = [pod for pod in before if pod not in working]
    spare = len(staying) - least - sum(pod not in working for pod in after)
    counts = [
        (useless, min(len(useless), max(spare, 0))),
        ([pod for pod in before if pod in working], max(len(working) - least, 0)),
        (after, max(len(after) - target, 0)),
    ]
    choices = [choose(pods, holdings, min(count, len(pods))) for pods, count in counts]
    return Turnover(
        wanted=max(min(target - len(after), room), 0),
        excess=sum(min(count, len(pods)) for pods, count in counts),
        choice=Choice(
            free=tuple(pod for choice in choices for pod in choice.free),
            retire=tuple(pod for choice in choices for pod in choice.retire),
        ),
    )


@dataclass(frozen=True)
class Progress:
    """How far the workers follow the template: what the condition `Progressing` says.

    Attributes:
        status: as of a condition.
        reason: one word for programs.
        message: for people.
        working: no new worker is awaited: as long as one is, a rollout that has stalled isn't known to go on.
    """

    status: Literal["True", "False"]
    reason: str
    message: str
    working: bool = True


def progress(snapshot: Snapshot, *, complaint: str | None, blocked: str | None, now: datetime) -> Progress:
    """How far the workers follow the template.

    Args:
        snapshot: what was read.
        complaint: why no pod can be made of it.
        blocked: why a worker that is to go stays.
        now: the time.
    """
    cluster, pods = snapshot.cluster, snapshot.worker_pods
    revision, old = worker_revision(cluster), outdated(cluster, pods)
    live = [pod for pod in pods if pod.live]
    if not old:
        return Progress("True", ROLLED_OUT, f"all workers are of revision {revision}")
    count = f"{len(live) - len(old)} of {len(live)} workers are of revision {revision}"
    stay = f"{count}, the others stay until it works or is reverted"
    if not cluster.update.rolling:
        return Progress("True", "NewRevisionOnDelete", f"{count}, the others are replaced as somebody deletes them")
    if complaint is not None:
        return Progress("False", STALLED, f"{stay}: {complaint}")
    if stuck := _stuck(snapshot, now):
        return Progress("False", STALLED, f"{stay}: {stuck}")
    if blocked is not None and any(entry.uid in old for entry in cluster.retiring):
        return Progress("False", STALLED, f"{count}: {blocked}")
    holdings = Holdings.of(snapshot)
    new = [_works(pod, holdings) for pod in live if pod.uid not in old]
    return Progress("True", ROLLING, count, working=bool(new) and all(new))


def _works(pod: Pod, holdings: Holdings) -> bool:
    """Whether it is of use; being ready isn't enough where the scheduler says that it never joined."""
    return pod.ready and (not holdings.listed or bool(holdings.registered.get(pod.uid)))


def _stuck(snapshot: Snapshot, now: datetime) -> str | None:
    """What keeps the new workers from working, if it isn't only time."""
    holdings, cluster = Holdings.of(snapshot), snapshot.cluster
    retiring = {entry.uid for entry in cluster.retiring}
    for pod in sorted(snapshot.worker_pods, key=lambda pod: pod.name):
        if not is_current(cluster, pod) or pod.terminating or pod.uid in retiring or _works(pod, holdings):
            continue
        if pod.ended_at_once:
            return f"Pod {pod.name}: {ENDED_AT_ONCE}"
        if pod.trouble is not None:
            return f"Pod {pod.name}: {pod.trouble.message}"
        if pod.finished or now - pod.created < DEADLINE:
            continue
        if not pod.ready:
            return f"Pod {pod.name} has not become ready in {_MINUTES}"
        return (
            f"Pod {pod.name} is ready, but in {_MINUTES} its worker has not joined the scheduler: does its command "
            f"start one, with --name=$({names.ENV_WORKER_NAME})?"
        )
    return None
