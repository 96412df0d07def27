"""What the tests of all autoscalers share: a load, and what is expected of whoever scales workers by it."""

from __future__ import annotations

import itertools
import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from integration import prometheus
from integration.cluster import definitions
from integration.cluster.choice import select
from integration.cluster.paths import Paths
from integration.dask_cluster import CHECKOUT, DaskCluster
from integration.kube import overlay
from integration.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from integration.agent.client import Agent
    from integration.kube import Kube, Manifest, Objects
    from integration.prometheus import Prometheus

EXAMPLE = CHECKOUT / "example"

MAXIMUM = 4
"""The workers that the load is too much for."""

_TASKS = 60
_TASK_SECONDS = 1.0
_PATIENCE_SECONDS = 180.0


def define(kube: Kube) -> None:
    """Make the real ServiceMonitor and KEDA's resources known; skips the test where the cluster isn't a local node."""
    if (provider := select()).name != "local":
        pytest.skip(f"other projects' definitions are for the local node alone; here the cluster is by {provider.name}")
    cache = Paths.here().cache
    kube.run("apply", "--server-side", f"--filename={definitions.service_monitor(cache)}")
    kube.run("apply", "--server-side", f"--kustomize={definitions.keda(cache) / 'crd'}")
    for definition in ("servicemonitors.monitoring.coreos.com", "scaledobjects.keda.sh"):
        kube.wait_established(definition)


def replace(kind: str, values: Mapping[str, object]) -> Manifest:
    """A patch for a kustomization, with new values by JSON pointer."""
    changes = [{"op": "replace", "path": path, "value": value} for path, value in values.items()]
    return {"target": {"kind": kind}, "patch": json.dumps(changes)}


@contextmanager
def described(kube: Kube, *kinds: str) -> Iterator[None]:
    """Print in the end what `kubectl describe` says of some kinds; pytest shows it where the test failed."""
    try:
        yield
    finally:
        print(kube.run("describe", ",".join(kinds)))


@contextmanager
def watched(kube: Kube, folder: Path) -> Iterator[Prometheus]:
    """Have a Prometheus look at the schedulers of a namespace every second, by the example's ServiceMonitor."""
    often = replace("ServiceMonitor", {"/spec/endpoints/0/interval": "1s"})
    with overlay(EXAMPLE / "servicemonitor", namespace=kube.namespace, patches=[often]) as monitor:
        kube.apply_kustomization(monitor)
    with prometheus.running(kube, folder) as metrics:
        yield metrics


def stays(kube: Kube, what: str, seconds: float, *, cluster: DaskCluster, replicas: int) -> None:
    """See that a Cluster wants so many workers for a time."""
    end = time.monotonic() + seconds

    def over(objects: Objects) -> bool:
        found = objects.find("Cluster", cluster.name)
        assert found is not None, what
        assert found["spec"]["workers"]["replicas"] == replicas, what
        return time.monotonic() > end

    kube.wait(what, over, timeout=seconds + 60)


def up_and_down(cluster: DaskCluster, image: str, *, minimum: int, rounds: int) -> None:
    """Compute, hold the results, let them go; see the workers follow, and no result lost or computed twice.

    Args:
        cluster: has `minimum` workers, and an autoscaler that may make it `MAXIMUM`.
        image: the Dask image.
        minimum: with nothing to do and nothing held.
        rounds: how often that is done.
    """
    timeline = Timeline()
    cluster.wait_settled(minimum, timeout=_PATIENCE_SECONDS)
    timeline.say(f"{minimum} workers, nothing to do")
    with cluster.client(image) as agent:
        for _ in range(rounds):
            _once_up_and_down(cluster, agent, timeline, minimum=minimum)


def _once_up_and_down(cluster: DaskCluster, agent: Agent, timeline: Timeline, *, minimum: int) -> None:
    timeline.say(f"{_TASKS} tasks of {_TASK_SECONDS:g} s each are submitted")
    held = agent.work(tasks=_TASKS, seconds=_TASK_SECONDS, timeout=_PATIENCE_SECONDS)
    assert held.computed == _TASKS
    timeline.say(f"they are done, by {len(agent.workers())} workers")
    assert len(agent.workers()) == MAXIMUM

    cluster.wait_settled(1, timeout=_PATIENCE_SECONDS)
    timeline.say("one worker is left, which holds the results")
    assert agent.audit().intact, agent.audit()

    agent.release()
    cluster.wait_settled(minimum, timeout=_PATIENCE_SECONDS)
    timeline.say(f"{minimum} workers, the results are released")


def assert_workers_stay_while_tasks_wait(metrics: Prometheus, *, start: float) -> None:
    """Check by what the scheduler said that no worker left, or was on its way out, while a task waited for one.

    Args:
        metrics: has scraped one scheduler every second.
        start: Unix time.
    """
    waiting = metrics.history('sum(dask_scheduler_tasks{state=~"queued|no-worker"})', start=start)
    removed = metrics.history("sum(dask_scheduler_workers_removed_total)", start=start)
    assert max(waiting.values()) > 0, "no task has ever waited: this says nothing"
    assert max(removed.values()) >= MAXIMUM - 1, "no worker has ever left: this says nothing"
    moments = sorted(removed.keys() & waiting.keys())
    early = [now for last, now in itertools.pairwise(moments) if removed[now] > removed[last] and waiting[last]]
    assert not early, {now - start: waiting[now] for now in early}
    # A worker that is just joining is counted so, too, but not for two seconds.
    retiring = metrics.history('sum(dask_scheduler_workers{state="retiring"})', start=start)
    seen = itertools.pairwise(sorted(retiring.keys() & waiting.keys()))
    leaving = [now for last, now in seen if retiring[last] and retiring[now] and waiting[last] and waiting[now]]
    assert not leaving, {now - start: f"{retiring[now]:g} leave, {waiting[now]:g} tasks wait" for now in leaving}
