"""One pass over one Cluster: observe, plan, write the status, act."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dask_k8s_operator.clients.kubernetes import Conflict, KubernetesClient
from dask_k8s_operator.controller.workqueue import Outdated
from dask_k8s_operator.domain.events import of_conditions
from dask_k8s_operator.domain.planner import RESYNC, plan
from dask_k8s_operator.domain.scaling import expectation
from dask_k8s_operator.domain.snapshot import Snapshot, Unreadable
from dask_k8s_operator.domain.status import merge_patch, unreadable_status, with_refusals

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta

    from dask_k8s_operator.controller.executor import Executor
    from dask_k8s_operator.controller.keys import ClusterKey
    from dask_k8s_operator.controller.lookout import Lookout
    from dask_k8s_operator.controller.observer import Observer
    from dask_k8s_operator.controller.recorder import Recorder
    from dask_k8s_operator.controller.retirecalls import RetireCallRegister


class WriteRefused(Exception):
    """The API server refused what the spec asks for; the status says so, and it is tried again later."""


class Reconciler:
    """Brings a Cluster one step nearer to what its spec says. Remembers nothing between passes."""

    def __init__(
        self,
        kubernetes: KubernetesClient,
        observer: Observer,
        executor: Executor,
        calls: RetireCallRegister,
        recorder: Recorder,
        *,
        lookout: Lookout,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._kubernetes = kubernetes
        self._observer = observer
        self._executor = executor
        self._calls = calls
        self._recorder = recorder
        self._lookout = lookout
        self._clock = clock

    async def reconcile(self, key: ClusterKey) -> timedelta | None:
        """Make one pass.

        Returns:
            When the next one is due though nothing happens; None where there is no such Cluster any more.

        Raises:
            KubernetesError: the API server didn't answer or refused; to be tried again later.
            ExceptionGroup: of those, from several actions.
            WriteRefused: the API server refused a creation or a change.
            Outdated: somebody else wrote since the Cluster was read, or it was read as it was before.
        """
        snapshot = await self._observer.observe(key)
        self._lookout.expect(key, expectation(snapshot) if isinstance(snapshot, Snapshot) else None)
        if snapshot is None:
            self._calls.forget(key)
            return None
        try:
            if isinstance(snapshot, Unreadable):
                return await self._say_unreadable(key, snapshot, self._clock())
            return await self._bring_nearer(key, snapshot, self._clock())
        except Conflict as conflict:
            raise Outdated(f"changed since it was read: {conflict}") from conflict

    async def _bring_nearer(self, key: ClusterKey, snapshot: Snapshot, now: datetime) -> timedelta:
        cluster = snapshot.cluster
        todo = plan(snapshot, now)
        status, version = todo.status, cluster.resource_version
        if status is not None:
            version = await self._write_status(key, version, cluster.status, status)
            self._recorder.record(cluster, of_conditions(cluster.status, status))
        self._calls.settle(key, snapshot.calls)
        refusals = await self._executor.execute(replace(cluster, resource_version=version), todo.actions)
        written = status if status is not None else cluster.status
        if refusals and (told := with_refusals(written, refusals, now=now)) != written:
            await self._write_status(key, version, written, told)
            self._recorder.record(cluster, of_conditions(written, told))
        if refusals:
            raise WriteRefused(f"{refusals[0].kind} refused: {refusals[0].message}")
        return todo.requeue_after

    async def _say_unreadable(self, key: ClusterKey, found: Unreadable, now: datetime) -> timedelta:
        """Say what is wrong with the spec; nothing can be done before that changes, of which an event tells."""
        cluster = found.cluster
        status = unreadable_status(cluster, found.reason, now=now)
        if not cluster.terminating and status != cluster.status:
            await self._write_status(key, cluster.resource_version, cluster.status, status)
            self._recorder.record(cluster, of_conditions(cluster.status, status))
        return RESYNC

    async def _write_status(
        self, key: ClusterKey, version: str, before: Mapping[str, Any], after: Mapping[str, Any]
    ) -> str:
        written = await self._kubernetes.patch_cluster_status(
            key.namespace, key.name, resource_version=version, status=merge_patch(before, after)
        )
        return str(written["metadata"]["resourceVersion"])
