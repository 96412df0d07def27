"""The only writer: does what a plan says."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

from dask_k8s_operator.clients.kubernetes import AlreadyExists, Conflict, Invalid, KubernetesClient, NotFound, Refused
from dask_k8s_operator.clients.scheduler import SchedulerError
from dask_k8s_operator.controller.keys import ClusterKey
from dask_k8s_operator.domain.actions import (
    Action,
    Apply,
    Create,
    DeleteCluster,
    DeletePod,
    Drain,
    Repair,
    Retire,
    Scale,
    TakeOver,
)
from dask_k8s_operator.domain.events import of_actions
from dask_k8s_operator.domain.idle import still_unused
from dask_k8s_operator.domain.status import Refusal
from dask_k8s_operator.domain.workload import Question

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_k8s_operator.clients.access import Scheduler
    from dask_k8s_operator.controller.recorder import Recorder
    from dask_k8s_operator.controller.retirecalls import RetireCallRegister
    from dask_k8s_operator.domain.cluster import Cluster

logger = logging.getLogger(__name__)

CONCURRENT_WRITES = 32
"""Requests to the API server at a time, over all Clusters."""


class Executor:
    """Carries actions out: independent ones side by side, within a bound that all Clusters share."""

    def __init__(
        self,
        kubernetes: KubernetesClient,
        scheduler: Callable[[ClusterKey], Scheduler],
        calls: RetireCallRegister,
        recorder: Recorder,
    ) -> None:
        self._kubernetes = kubernetes
        self._scheduler = scheduler
        self._calls = calls
        self._recorder = recorder
        self._slots = asyncio.Semaphore(CONCURRENT_WRITES)

    async def execute(self, cluster: Cluster, actions: tuple[Action, ...]) -> list[Refusal]:
        """Carry the actions out, and tell of what was done.

        Args:
            cluster: as it stands by now, the status having been written.
            actions: independent of each other.

        Returns:
            The creations and changes that the API server refused.

        Raises:
            Conflict: nothing worse happened than that a write met an object, or a quota, that has changed.
            ExceptionGroup: of `KubernetesError`: actions got no answer.
        """
        outcomes = await asyncio.gather(*(self._act(cluster, action) for action in actions), return_exceptions=True)
        done = (action for action, outcome in zip(actions, outcomes, strict=True) if outcome is True)
        self._recorder.record(cluster, of_actions(done))
        failures = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        if failures and all(isinstance(failure, Conflict) for failure in failures):
            raise failures[0]
        if failures:
            raise ExceptionGroup(f"{len(failures)} of {len(actions)} actions failed: {failures[0]}", failures)
        return [outcome for outcome in outcomes if isinstance(outcome, Refusal)]

    async def _act(self, cluster: Cluster, action: Action) -> Refusal | bool:
        """Carry one out; gives the refusal, or whether it was this that did it."""
        key = ClusterKey(cluster.namespace, cluster.name)
        async with self._slots:
            logger.info("%s: %s", key, action)
            match action:
                case Create():
                    return await self._create(action)
                case Apply() | Repair() | TakeOver():
                    return await self._change(key, action)
                case DeletePod():
                    return await self._delete(key, action)
                case Drain() | Retire():
                    self._calls.start(key, cluster.uid, self._scheduler(key), action)
                case Scale():
                    await self._kubernetes.scale_cluster(
                        *key, replicas=action.replicas, resource_version=cluster.resource_version
                    )
                case DeleteCluster():
                    await self._delete_cluster(key, action, cluster.resource_version)
        return True

    async def _delete_cluster(self, key: ClusterKey, action: DeleteCluster, resource_version: str) -> None:
        # With the scheduler go all keys, and what the plan rests on may be as old as a pass is long.
        try:
            work = await self._scheduler(key).workload(Question(submissions=True))
        except SchedulerError as error:
            raise Conflict(
                f"nobody can say whether the Cluster is still unused: {error}", HTTPStatus.CONFLICT
            ) from error
        if not still_unused(action.since, work):
            raise Conflict("somebody uses the Cluster after all", HTTPStatus.CONFLICT)
        await self._kubernetes.delete_cluster(*key, uid=action.uid, resource_version=resource_version)

    async def _create(self, action: Create) -> Refusal | bool:
        try:
            await self._kubernetes.create(action.manifest)
        except AlreadyExists:
            logger.debug("%s %s exists already", action.kind, action.name)
            return False
        except Conflict:
            raise
        except Refused as error:
            return Refusal.of(action, str(error), invalid=isinstance(error, Invalid))
        return True

    async def _change(self, key: ClusterKey, action: Apply | Repair | TakeOver) -> Refusal | bool:
        kubernetes, where = self._kubernetes, (action.kind, key.namespace, action.name)
        try:
            match action:
                case Apply():
                    version = {"uid": action.uid, "resourceVersion": action.resource_version}
                    metadata = {**action.manifest["metadata"], **version}
                    await kubernetes.apply({**action.manifest, "metadata": metadata})
                case Repair():
                    version = {"uid": action.uid, "resourceVersion": action.resource_version}
                    metadata = {**action.patch["metadata"], **version}
                    await kubernetes.merge(*where, {**action.patch, "metadata": metadata})
                case TakeOver():
                    await kubernetes.set_managed_fields(
                        *where, action.managed_fields, resource_version=action.resource_version
                    )
        except Conflict:
            raise
        except NotFound:
            logger.debug("%s %s is gone already", action.kind, action.name)
            return False
        except Refused as error:
            return Refusal(action.kind, str(error), invalid=isinstance(error, Invalid), change=True)
        return True

    async def _delete(self, key: ClusterKey, action: DeletePod) -> bool:
        try:
            await self._kubernetes.delete_pod(
                key.namespace,
                action.name,
                uid=action.uid,
                resource_version=action.resource_version,
                grace_seconds=action.grace_seconds,
            )
        except NotFound:
            logger.debug("Pod %s is gone already", action.name)
            return False
        return True
