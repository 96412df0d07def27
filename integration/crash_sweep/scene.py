"""A Cluster whose operator asks for everything through a proxy, and what one scale-down of it comes to."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from integration.agent import pod
from integration.agent.client import AgentError
from integration.cluster.local import Local
from integration.crash_sweep import proxy as proxies
from integration.crash_sweep.incidents import HeldOpen, Start, StruckAtStart, delay
from integration.crash_sweep.kinds import RPC
from integration.crash_sweep.operators import LEASE, Operators
from integration.crash_sweep.schedulerports import SchedulerPorts
from integration.dask_cluster import DaskCluster
from integration.kube import CLUSTERS, TooLate
from integration.worker_process import SHARED, send_signal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from integration.agent.client import Agent
    from integration.cluster.provider import Provider
    from integration.crash_sweep.incidents import Incident
    from integration.crash_sweep.proxy import Proxy
    from integration.crash_sweep.run import Run
    from integration.kube import Kube

BEFORE, AFTER = 3, 1
"""The workers, before and after the scale-down."""

KEYS = 15
"""Of each kind, scattered and computed: some on each worker."""

TASK_SECONDS = 4.0
"""How long a task takes that each worker has been given: longer than an operator takes to have a worker drained."""

DRAIN_SECONDS = 60
"""The default of `spec.workers.retirement.drainSeconds`."""

MANY_KEYS = 150
"""Where two calls may overlap: a scheduler looks the more seldom whether data has moved, the more of it there is."""

CONVERGED_SECONDS = 90.0
"""The longest backoffs of the operator and then some."""

Access = Literal["proxy", "direct"]
"""How operators reach the scheduler: through the API server, by HTTP alone; or as in the cluster, by RPC, too."""

_REST_SECONDS = 60.0
_CALL_SECONDS = 30.0


@dataclass(frozen=True)
class Outcome:
    """What a scale-down came to.

    Attributes:
        incident: what happened in it; None where nothing did.
        met: whether that came about.
        run: the requests.
        at_risk: keys that only workers had that were to go, or that no longer were there.
        lost: scattered keys that are gone for ever.
        recomputed: keys that were or have to be computed again.
        wrong: keys whose value changed.
        interrupted: tasks that ran until their worker was drained, and then once more elsewhere.
        made: names of worker pods that are there and were not before.
        trouble: what did not come about in time; None if all is as wanted.
        seconds: how long it took, from the scale-down on.
        log: what the operators said.
    """

    incident: Incident | None
    met: bool
    run: Run
    at_risk: int
    lost: tuple[str, ...]
    recomputed: tuple[str, ...]
    wrong: tuple[str, ...]
    interrupted: tuple[str, ...]
    made: tuple[str, ...]
    trouble: str | None
    seconds: float
    log: str

    @property
    def good(self) -> bool:
        """Whether nothing was lost, and all is as wanted."""
        harm = self.lost or self.recomputed or self.wrong or self.interrupted or self.made
        return not (harm or self.trouble)


def usual_access(provider: Provider) -> Access:
    """How operators reach schedulers where nobody says: as in the cluster, where processes here can.

    Those of a local node can: they run as root, in the node's network.
    """
    return "direct" if isinstance(provider, Local) else "proxy"


class Scene:
    """A Cluster with data, its operator, and the proxy between that and everybody else."""

    def __init__(
        self, cluster: DaskCluster, agent: Agent, operators: Operators, proxy: Proxy, *, access: Access
    ) -> None:
        """Made by `built`."""
        self._cluster, self._agent, self._operators, self._proxy = cluster, agent, operators, proxy
        self._access = access
        self._drain_seconds = DRAIN_SECONDS

    def play(self, incident: Incident | None) -> Outcome:
        """Scale up and hold data anew, then scale down, with an incident in the middle.

        Raises:
            TooLate: the workers before the scale-down could not be had.
            AgentError: there is no answer from Dask.
            KubectlError: Kubernetes doesn't do what it is told.
        """
        self._prepare(incident)
        holders, before = self._agent.look().holders, self._worker_names()
        tasks = self._begin_tasks()
        first = self._operators.number
        starting = isinstance(incident, Start | StruckAtStart)
        restart = self._operators.restart_electing if starting else self._operators.restart
        run = self._proxy.begin(incident, restart=restart)
        if starting:
            self._proxy.restart_operator()
        began = time.monotonic()
        trouble = self._scale_down(incident, run)
        seconds = time.monotonic() - began
        self._proxy.begin(None, restart=self._operators.restart)
        audit, after = self._agent.audit(), self._worker_names()
        if audit.held != (held := 2 * _keys(incident) + tasks):
            trouble = trouble or f"{audit.held} keys are held instead of {held}"
        return Outcome(
            incident=incident,
            met=run.met,
            run=run,
            at_risk=sum(not after.intersection(names) for names in holders.values()),
            lost=audit.lost,
            recomputed=audit.recomputed,
            wrong=audit.wrong,
            interrupted=tuple(sorted(key for key, names in self._agent.starts().items() if len(names) > 1)),
            made=tuple(sorted(after - before)),
            trouble=trouble,
            seconds=seconds,
            log=self._operators.log(since=first),
        )

    def _prepare(self, incident: Incident | None) -> None:
        self._proxy.begin(None, restart=self._operators.restart)
        if isinstance(incident, Start | StruckAtStart):
            # The one that holds the Lease goes, and the Lease with it: the next ones would wait until it runs out.
            self._proxy.restart_operator()
            self._cluster.kube.delete("lease", LEASE, "--ignore-not-found")
        self._agent.release()
        self._set_drain(_drain_seconds(incident))
        self._cluster.scale(BEFORE)
        self._cluster.wait_settled(BEFORE, timeout=CONVERGED_SECONDS)
        self._agent.wait_for_workers(BEFORE, timeout=CONVERGED_SECONDS)
        self._agent.hold(scattered=_keys(incident), computed=_keys(incident))
        if isinstance(incident, HeldOpen):
            self._cluster.let_go_first(min(self._worker_names()))
        self._wait_for_rest()

    def _set_drain(self, seconds: int) -> None:
        if seconds != self._drain_seconds:
            self._cluster.patch({"workers": {"retirement": {"drainSeconds": seconds}}})
            self._drain_seconds = seconds

    def _begin_tasks(self) -> int:
        """Give each worker a task, where workers are drained; gives how many there are."""
        if self._access == "proxy" or not self._drain_seconds:
            return 0
        self._agent.begin(self._agent.workers(), seconds=TASK_SECONDS)
        return BEFORE

    def _scale_down(self, incident: Incident | None, run: Run) -> str | None:
        timeout = CONVERGED_SECONDS + delay(incident)
        try:
            if isinstance(incident, HeldOpen):
                self._scale_down_past_a_frozen_worker(run, seconds=incident.frozen)
            self._cluster.scale(AFTER)
            self._cluster.wait_settled(AFTER, timeout=timeout)
            self._agent.wait_for_workers(AFTER, timeout=CONVERGED_SECONDS)
            self._agent.finish(timeout=CONVERGED_SECONDS)
            # One that was killed at the end has to look around first: only then is it clear that it leaves all as is.
            self._wait_for_rest()
            self._cluster.wait_settled(AFTER, timeout=CONVERGED_SECONDS)
        except (TooLate, AgentError) as error:
            return str(error)
        return None

    def _scale_down_past_a_frozen_worker(self, run: Run, *, seconds: float) -> None:
        """Have the first one frozen, and the others go while the scheduler is at what the operator has lost."""
        kube, first = self._cluster.kube, min(self._worker_names())
        send_signal(kube, first, "STOP")
        try:
            self._cluster.scale(BEFORE - 1)
            kube.wait_for("the operator has lost a call", lambda: run.met, timeout=_CALL_SECONDS)
            self._cluster.scale(AFTER)
            time.sleep(seconds)
        finally:
            send_signal(kube, first, "CONT")

    def _wait_for_rest(self) -> None:
        self._cluster.kube.wait_for("the operator rests", self._proxy.operator_rests, timeout=_REST_SECONDS)

    def _worker_names(self) -> frozenset[str]:
        return frozenset(pod["metadata"]["name"] for pod in self._cluster.workers())


@contextmanager
def built(kube: Kube, image: str, name: str, folder: Path, access: Access) -> Iterator[Scene]:
    """A Cluster of this name with its operator, in a namespace that nobody else looks after.

    Args:
        kube: the namespace.
        image: of Dask.
        name: of the Cluster.
        folder: where the operators' logs go.
        access: how operators reach the scheduler.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ports = SchedulerPorts.at_random(name, kube.namespace) if access == "direct" else None
    with (
        proxies.running(ports) as proxy,
        _removed_at_the_end(kube, name),
    ):
        kubeconfig = folder / "kubeconfig"
        proxies.write_kubeconfig(kubeconfig, server=proxy.url, namespace=kube.namespace)
        with Operators(kube.namespace, kubeconfig, folder, ports) as operators:
            cluster = DaskCluster(kube, name).apply(image, replicas=BEFORE, worker=SHARED)
            with cluster.client(image) as agent:
                yield Scene(cluster, agent, operators, proxy, access=access)


@contextmanager
def _removed_at_the_end(kube: Kube, name: str) -> Iterator[None]:
    """The next scene begins with nothing: no other Cluster for its operator, no client that has seen a loss before."""
    try:
        yield
    finally:
        kube.delete(CLUSTERS, name, "--ignore-not-found")
        kube.delete("pod", pod.NAME, "--ignore-not-found", wait=True)
        kube.wait(f"the pods of {name} are gone", lambda objects: not objects.pods(cluster=name), timeout=60)


def _keys(incident: Incident | None) -> int:
    return MANY_KEYS if isinstance(incident, HeldOpen) else KEYS


def _drain_seconds(incident: Incident | None) -> int:
    """A worker is drained before it is retired, and retiring a drained one takes no time: its data is elsewhere."""
    return 0 if isinstance(incident, HeldOpen) and not incident.request.kind.startswith(RPC) else DRAIN_SECONDS
