"""A Cluster whose operator asks for everything through a proxy, and what one scale-down of it comes to."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from integration.agent import pod
from integration.agent.client import AgentError
from integration.crash_sweep import proxy as proxies
from integration.crash_sweep.operators import Operators
from integration.crash_sweep.polling import PolledKube
from integration.crash_sweep.schedulerports import SchedulerPorts
from integration.dask_cluster import DaskCluster
from integration.kube import CLUSTERS, TooLate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from integration.agent.client import Agent
    from integration.crash_sweep.incidents import Incident
    from integration.crash_sweep.proxy import Proxy
    from integration.crash_sweep.run import Run
    from integration.kube import Kube

BEFORE, AFTER = 3, 1
"""The workers, before and after the scale-down."""

KEYS = 15
"""Of each kind, scattered and computed: some on each worker."""

CONVERGED_SECONDS = 90.0
"""The longest backoffs of the operator and then some."""

Access = Literal["proxy", "direct"]
"""How operators reach the scheduler: through the API server, by HTTP alone; or as in the cluster, by RPC, too."""

_REST_SECONDS = 60.0


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
    made: tuple[str, ...]
    trouble: str | None
    seconds: float
    log: str

    @property
    def good(self) -> bool:
        """Whether nothing was lost, and all is as wanted."""
        return not (self.lost or self.recomputed or self.wrong or self.made or self.trouble)


class Scene:
    """A Cluster with data, its operator, and the proxy between that and everybody else."""

    def __init__(self, cluster: DaskCluster, agent: Agent, operators: Operators, proxy: Proxy) -> None:
        """Made by `built`."""
        self._cluster, self._agent, self._operators, self._proxy = cluster, agent, operators, proxy

    def play(self, incident: Incident | None) -> Outcome:
        """Scale up and hold data anew, then scale down, with an incident in the middle.

        Raises:
            TooLate: the workers before the scale-down could not be had.
            AgentError: there is no answer from Dask.
            KubectlError: Kubernetes doesn't do what it is told.
        """
        self._prepare()
        holders, before = self._agent.look().holders, self._worker_names()
        first = self._operators.number
        run = self._proxy.begin(incident, restart=self._operators.restart)
        began = time.monotonic()
        trouble = self._scale_down()
        seconds = time.monotonic() - began
        self._proxy.begin(None, restart=self._operators.restart)
        audit, after = self._agent.audit(), self._worker_names()
        if audit.held != 2 * KEYS:
            trouble = trouble or f"{audit.held} keys are held instead of {2 * KEYS}"
        return Outcome(
            incident=incident,
            met=run.met,
            run=run,
            at_risk=sum(not after.intersection(names) for names in holders.values()),
            lost=audit.lost,
            recomputed=audit.recomputed,
            wrong=audit.wrong,
            made=tuple(sorted(after - before)),
            trouble=trouble,
            seconds=seconds,
            log=self._operators.log(since=first),
        )

    def _prepare(self) -> None:
        self._agent.release()
        self._cluster.scale(BEFORE)
        self._cluster.wait_settled(BEFORE, timeout=CONVERGED_SECONDS)
        self._agent.wait_for_workers(BEFORE, timeout=CONVERGED_SECONDS)
        self._agent.hold(scattered=KEYS, computed=KEYS)
        self._wait_for_rest()

    def _scale_down(self) -> str | None:
        try:
            self._cluster.scale(AFTER)
            self._cluster.wait_settled(AFTER, timeout=CONVERGED_SECONDS)
            self._agent.wait_for_workers(AFTER, timeout=CONVERGED_SECONDS)
            # One that was killed at the end has to look around first: only then is it clear that it leaves all as is.
            self._wait_for_rest()
            self._cluster.wait_settled(AFTER, timeout=CONVERGED_SECONDS)
        except (TooLate, AgentError) as error:
            return str(error)
        return None

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
        PolledKube(kube.namespace, proxy.upstream) as polled,
        _removed_at_the_end(polled, name),
    ):
        kubeconfig = folder / "kubeconfig"
        proxies.write_kubeconfig(kubeconfig, server=proxy.url, namespace=kube.namespace)
        with Operators(kube.namespace, kubeconfig, folder, ports) as operators:
            cluster = DaskCluster(polled, name).apply(image, replicas=BEFORE)
            with cluster.client(image) as agent:
                yield Scene(cluster, agent, operators, proxy)


@contextmanager
def _removed_at_the_end(kube: Kube, name: str) -> Iterator[None]:
    """The next scene begins with nothing: no other Cluster for its operator, no client that has seen a loss before."""
    try:
        yield
    finally:
        kube.delete(CLUSTERS, name, "--ignore-not-found")
        kube.delete("pod", pod.NAME, "--ignore-not-found", wait=True)
        kube.wait(f"the pods of {name} are gone", lambda objects: not objects.pods(cluster=name), timeout=60)
