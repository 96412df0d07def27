"""The operator as a whole: every part made, joined, and run until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from dask_k8s_operator.clients.access import Scheduler
from dask_k8s_operator.clients.connection import connect, in_cluster
from dask_k8s_operator.clients.kubernetes import KubernetesClient, KubernetesError
from dask_k8s_operator.clients.scheduler import HttpTransport, SchedulerClient, http_client
from dask_k8s_operator.clients.schedulerrpc import SchedulerRpc
from dask_k8s_operator.controller.executor import Executor
from dask_k8s_operator.controller.generations import Generations
from dask_k8s_operator.controller.health import serve_health
from dask_k8s_operator.controller.lookout import Lookout
from dask_k8s_operator.controller.observer import Observer
from dask_k8s_operator.controller.reconciler import Reconciler
from dask_k8s_operator.controller.recorder import Recorder
from dask_k8s_operator.controller.retirecalls import RetireCallRegister
from dask_k8s_operator.controller.signals import stop_on_signals
from dask_k8s_operator.controller.watcher import watch
from dask_k8s_operator.controller.workqueue import WorkQueue
from dask_k8s_operator.domain import names

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from datetime import timedelta

    import httpx

    from dask_k8s_operator.controller.keys import ClusterKey
    from dask_k8s_operator.settings import Settings

logger = logging.getLogger(__name__)

STUCK_SECONDS = 300.0
"""A pass that takes longer is stuck: each of its requests gives up after 40 s, and few wait for each other."""

SHUTDOWN_SECONDS = 3.0
"""How long passes may take to end once they have to. A pass that is cut short loses nothing.

Shorter than a leader's work may take to stop, see `clients.lease.RENEW_SECONDS`.
"""


async def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        KubernetesError: the API server can't be reached or used; the message says what to do.
        OSError: the health port can't be had.
    """
    stop = asyncio.Event()
    stop_on_signals(stop)
    async with AsyncExitStack() as stack:
        kubernetes = await connect(settings.kubeconfig)
        stack.push_async_callback(kubernetes.close)
        await _check_access(kubernetes, settings)
        http = await stack.enter_async_context(http_client())
        await _Operator(settings, kubernetes, http).run(stop)


async def _check_access(kubernetes: KubernetesClient, settings: Settings) -> None:
    version = await kubernetes.version()
    for namespace in settings.namespaces or (None,):
        await kubernetes.check_clusters(namespace)
    where = ", ".join(settings.namespaces) or "all namespaces"
    logger.info("looking after the Clusters of %s (Kubernetes %s)", where, version)


class _Operator:
    def __init__(self, settings: Settings, kubernetes: KubernetesClient, http: httpx.AsyncClient) -> None:
        self._settings = settings
        self._kubernetes = kubernetes
        self._http = http
        self._queue: WorkQueue[ClusterKey] = WorkQueue()
        self._generations = Generations()
        self._calls = RetireCallRegister(wake=self._queue.add)
        self._recorder = Recorder(kubernetes)
        self._lookout = Lookout(self._scheduler, wake=self._queue.add)
        self._reconciler = Reconciler(
            kubernetes,
            Observer(kubernetes, self._scheduler, self._calls, self._generations),
            Executor(kubernetes, self._scheduler, self._calls, self._recorder),
            self._calls,
            self._recorder,
            lookout=self._lookout,
        )
        self._passes: dict[ClusterKey, float] = {}
        self._to_check = deque[str | None](settings.namespaces or (None,))
        self._direct = settings.scheduler_access == "direct" or (
            settings.scheduler_access == "auto" and in_cluster() and settings.kubeconfig is None
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Serve the probes at once, and reconcile while this is the operator that acts, until `stop` is set."""
        settings = self._settings
        health = serve_health(
            host=settings.health_host, port=settings.health_port, alive=self._alive, ready=self._ready
        )
        async with health:
            if settings.lease is None:
                await self._watch_and(self._reconcile(), stop)
            else:
                await self._watch_and(self._kubernetes.lead(*settings.lease, self._reconcile), stop)
        logger.info("stopped")

    async def _watch_and(self, work: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
        """Do the work until `stop` is set, and watch meanwhile.

        One that only stands by watches, too. What it sees waits in the queue for the moment when it may act: nothing
        needs to be listed then, and kopf is no good at being started twice in a process.
        """
        working = asyncio.create_task(work)
        watching = asyncio.create_task(
            watch(
                lambda key, after: self._queue.add(key, after=after),
                self._generations,
                namespaces=self._settings.namespaces,
                stop=stop,
            )
        )
        stopping = asyncio.create_task(stop.wait())
        try:
            # The first two end only by failing; then the process ends, and its Deployment starts another.
            await asyncio.wait({working, watching, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            working.cancel()
            # Before kopf ends, which cancels everybody's tasks: the Lease is given back in here.
            await asyncio.wait({working})
            # Told to stop, kopf would wait 5 s for any task that began after it, like a call to a scheduler;
            # cancelled, it doesn't.
            watching.cancel()
            await asyncio.wait({watching}, timeout=SHUTDOWN_SECONDS)
        _raise_first(watching, working)

    async def _reconcile(self) -> None:
        """Work on what is in the queue until cancelled."""
        passes = asyncio.create_task(self._queue.run(self._pass, concurrency=self._settings.concurrency))
        telling = asyncio.create_task(self._recorder.run())
        try:
            # They end only by failing.
            await asyncio.wait({passes, telling}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            passes.cancel()
            telling.cancel()
            await self._calls.close()
            await self._lookout.close()
            await asyncio.wait({passes, telling}, timeout=SHUTDOWN_SECONDS)
        _raise_first(passes, telling)

    def _scheduler(self, key: ClusterKey) -> Scheduler:
        if not self._direct:
            return Scheduler(SchedulerClient(self._kubernetes.scheduler_proxy(key.namespace, key.name)), rpc=None)
        http = HttpTransport(self._http, names.dashboard_address(key.name, key.namespace))
        return Scheduler(SchedulerClient(http), SchedulerRpc(names.scheduler_address(key.name, key.namespace)))

    async def _pass(self, key: ClusterKey) -> timedelta | None:
        self._passes[key] = asyncio.get_running_loop().time()
        try:
            return await self._reconciler.reconcile(key)
        finally:
            del self._passes[key]

    async def _alive(self) -> str | None:
        now = asyncio.get_running_loop().time()
        stuck = [str(key) for key, since in self._passes.items() if now - since > STUCK_SECONDS]
        return f"passes over these Clusters are stuck: {', '.join(stuck)}" if stuck else None

    async def _ready(self) -> str | None:
        """Read the Clusters of one namespace after the other, a probe each, and go on once they can be read.

        All of them in each probe would be most of what an operator for a hundred namespaces asks for.
        """
        try:
            await self._kubernetes.check_clusters(self._to_check[0])
        except KubernetesError as error:
            return str(error)
        self._to_check.rotate(-1)
        return None


def _raise_first(*tasks: asyncio.Task[None]) -> None:
    """Raise what one of these failed with."""
    for task in tasks:
        if task.done() and not task.cancelled():
            task.result()
