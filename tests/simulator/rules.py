"""The rules that are compared: this operator's, dask-kubernetes', and Dask's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from statistics import median_low
from typing import TYPE_CHECKING, Any

from distributed.deploy.adaptive_core import AdaptiveCore

from dask_k8s_operator.controller.lookout import LOOK_SECONDS
from dask_k8s_operator.domain.autoscale import Autoscale, Demand, Memory, Pace, Workforce, decide
from dask_k8s_operator.domain.scaling import POLL
from tests.simulator.simulation import Rule

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.simulator.simulation import Pod, World

START = datetime(2026, 1, 1, tzinfo=UTC)


class Operator(Rule):
    """`spec.workers.autoscale`: the very function that the operator calls."""

    name = "this operator"
    every = LOOK_SECONDS

    def __init__(self, window: timedelta | None = None) -> None:
        """Begin without workers.

        Args:
            window: `scaleDown.stabilizationWindowSeconds`; None: it is left out.
        """
        self._window = window
        self._replicas = 0
        self._status: dict[str, Any] = {}
        self._seen: int | None = None
        self._due = 0.0

    def look(self, world: World) -> None:
        """Ask the scheduler, and decide where that is news or it is time; have the workers made or drained."""
        target = min(world.scheduler.adaptive_target(), world.load.maximum)
        if target == self._seen and world.now < self._due:
            return
        self._seen = target
        self._decide(world)

    def _decide(self, world: World) -> None:
        force = self._workforce(world)
        threads = float(world.load.threads) if world.scheduler.workers else None
        memory = Memory.from_status(self._status).learn(force, threads)
        decision = decide(
            Autoscale(minimum=0, maximum=world.load.maximum, up_window=timedelta(0), down_window=self._window),
            self._demand(world, memory.pace, threads),
            force,
            replicas=self._replicas,
            memory=memory,
            now=START + timedelta(seconds=world.now),
        )
        self._replicas, self._status = decision.replicas, decision.memory.to_status()
        self._due = world.now + min(decision.again or POLL, POLL).total_seconds()
        self._carry_out(world)

    def _carry_out(self, world: World) -> None:
        live = world.live
        world.create(self._replicas - len(live))
        surplus = max(len(live) - self._replicas, 0)
        starting = [pod for pod in reversed(live) if pod.ready is None][:surplus]
        for pod in starting:
            world.drop(pod)
        names = {pod.name: pod for pod in live if pod.ready is not None}
        order = [name for name in world.scheduler.workers_to_close(n=len(world.scheduler.workers)) if name in names]
        for name in order[: surplus - len(starting)]:
            world.drain(names[name])

    @staticmethod
    def _demand(world: World, pace: Pace | None, threads: float | None) -> Demand:
        target = world.scheduler.adaptive_target()
        if pace is None:
            return Demand(target, threads=threads)
        soon = pace.patience.total_seconds()
        patient = world.scheduler.adaptive_target(soon)
        lasting = world.scheduler.adaptive_target(soon + pace.startup.total_seconds())
        return Demand(target, patient, lasting, threads)

    @staticmethod
    def _workforce(world: World) -> Workforce:
        live = world.live
        took = [pod.ready - pod.created for pod in live if pod.ready is not None]
        return Workforce(
            ready=len(took),
            starting=tuple(timedelta(seconds=world.now - pod.created) for pod in live if pod.ready is None),
            startup=timedelta(seconds=round(median_low(took))) if took else None,
        )


class DaskKubernetes(Rule):
    """dask-kubernetes: up at once, down by a quarter at a time, and nothing for 15 s after either.

    As in its version 2026.3.0 (`daskautoscaler_adapt`, `daskworkergroup_replica_update` and `retire_workers` in
    `dask_kubernetes/operator/controller/controller.py`), which offers no settings for these numbers. The scheduler
    chooses whom to retire, from the workers that have registered, so pods that still start stay (its issue 659).
    """

    name = "dask-kubernetes"
    every = 5.0

    def __init__(self) -> None:
        self._replicas = 0
        self._quiet_until = 0.0

    def look(self, world: World) -> None:
        """Ask the scheduler and follow it."""
        if world.now < self._quiet_until:
            return
        wanted = min(world.scheduler.adaptive_target(), world.load.maximum)
        if self._replicas > 0:
            wanted = max(wanted, self._replicas - max(int(self._replicas * 0.25), 1))
        if wanted == self._replicas:
            return
        self._replicas = wanted
        self._quiet_until = world.now + 15
        surplus = len(world.live) - wanted
        world.create(-surplus)
        names = {pod.name: pod for pod in world.live}
        for name in world.scheduler.workers_to_close(n=max(surplus, 0)) if surplus > 0 else []:
            world.retire(names[name])


class Adaptive(Rule):
    """Dask's own `Adaptive` with its defaults: `AdaptiveCore` itself, in the virtual time.

    The defaults are those of `distributed.adaptive` in the configuration of `distributed` 2026.8.0: it looks every
    second, and three looks in a row must agree that a worker can go (`wait-count`).
    """

    name = "Dask's Adaptive"
    every = 1.0

    def __init__(self) -> None:
        self._core: _Core | None = None

    def look(self, world: World) -> None:
        """Let it adapt."""
        self._core = self._core or _Core(world)
        turn = self._core.adapt()
        try:
            turn.send(None)
        except StopIteration:
            return
        raise AssertionError("it waited for something, and in the virtual time nothing comes")


class _Core(AdaptiveCore):  # type: ignore[misc]
    """What a cluster manager of Dask's lets `Adaptive` do."""

    def __init__(self, world: World) -> None:
        super().__init__(minimum=0, maximum=world.load.maximum, wait_count=3)
        self._world = world

    @property
    def plan(self) -> set[int]:
        return {pod.name for pod in self._world.live}

    @property
    def requested(self) -> set[int]:
        return self.plan

    @property
    def observed(self) -> set[int]:
        return {pod.name for pod in self._world.live if pod.ready is not None}

    async def target(self) -> int:
        return self._world.scheduler.adaptive_target()

    async def workers_to_close(self, target: int) -> list[int]:
        return self._world.scheduler.workers_to_close(n=max(len(self._world.scheduler.workers) - target, 0))

    async def scale_up(self, n: int) -> None:
        self._world.create(n - len(self._world.live))

    async def scale_down(self, workers: Iterable[int]) -> None:
        pods: dict[int, Pod] = {pod.name: pod for pod in self._world.live}
        for name in workers:
            if pods[name].ready is None:
                self._world.drop(pods[name])
            else:
                self._world.retire(pods[name])
