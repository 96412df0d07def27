"""One look at a Cluster and everything around it, by fresh reads."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dask_k8s_operator.clients.kubernetes import Refused, Unavailable
from dask_k8s_operator.clients.scheduler import SchedulerError
from dask_k8s_operator.controller.workqueue import Outdated
from dask_k8s_operator.domain import names
from dask_k8s_operator.domain.cluster import Cluster, InvalidCluster
from dask_k8s_operator.domain.planner import needs_scheduler
from dask_k8s_operator.domain.revision import is_scheduler_outdated
from dask_k8s_operator.domain.rivals import Rivals
from dask_k8s_operator.domain.scaling import minds_rivals, question
from dask_k8s_operator.domain.snapshot import (
    NotAsked,
    Owned,
    Pod,
    SchedulerView,
    Snapshot,
    Unreachable,
    Unreadable,
    foreign,
    owned_by,
)
from dask_k8s_operator.domain.templates import Refusal, TemplateCheck, Trial, check, is_checked, trials

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_k8s_operator.clients.access import Scheduler
    from dask_k8s_operator.clients.kubernetes import KubernetesClient, Manifest
    from dask_k8s_operator.controller.generations import Generations
    from dask_k8s_operator.controller.keys import ClusterKey
    from dask_k8s_operator.controller.retirecalls import RetireCallRegister
    from dask_k8s_operator.domain.snapshot import RetireCalls
    from dask_k8s_operator.domain.workload import Question, Workload


class Observer:
    """Makes snapshots."""

    def __init__(
        self,
        kubernetes: KubernetesClient,
        scheduler: Callable[[ClusterKey], Scheduler],
        calls: RetireCallRegister,
        generations: Generations,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._kubernetes = kubernetes
        self._scheduler = scheduler
        self._calls = calls
        self._generations = generations
        self._clock = clock

    async def observe(self, key: ClusterKey) -> Snapshot | Unreadable | None:
        """Read everything that a plan needs; None where there is no such Cluster.

        Raises:
            KubernetesError: the API server didn't give it all.
            Outdated: it gave a spec that is older than what an event has told of.
        """
        child = names.scheduler_name(key.name)
        manifest, deployment, service, pods = await asyncio.gather(
            self._kubernetes.get_cluster(key.namespace, key.name),
            self._kubernetes.get("Deployment", key.namespace, child),
            self._kubernetes.get("Service", key.namespace, child),
            self._kubernetes.list_pods(key.namespace, f"{names.LABEL_CLUSTER}={key.name}"),
        )
        if manifest is None:
            return None
        meta = manifest["metadata"]
        newer = self._generations.newer_than(key, uid=meta["uid"], generation=meta["generation"])
        if newer is not None:
            raise Outdated(f"the API server tells of generation {meta['generation']}, and has told of {newer}")
        try:
            cluster = Cluster.from_manifest(manifest)
        except InvalidCluster as error:
            return Unreadable(Cluster.from_manifest({**manifest, "spec": {}}), str(error))
        workers = tuple(
            Pod.from_manifest(pod, container=names.ROLE_WORKER)
            for pod in pods
            if _role(pod) == names.ROLE_WORKER and owned_by(pod, cluster.uid)
        )
        owned_deployment = Owned.from_manifest(deployment, owner_uid=cluster.uid) if deployment else None
        owned_service = Owned.from_manifest(service, owner_uid=cluster.uid) if service else None
        templates = await self._try_templates(cluster, owned_deployment, owned_service)
        # Before the scheduler is read: what an answer says moved must be older than the list it is checked against.
        calls = self._calls.of(key, cluster.uid)
        # After the pods: a worker that registers in between is seen as registered, not as unknown.
        taken = foreign(owned_deployment, owned_service)
        asked_for = question(cluster, None if taken else owned_deployment, workers, self._clock())
        view, workload, rivals = await asyncio.gather(
            self._ask(key, cluster, workers, calls, taken=taken),
            self._ask_for_work(key, asked_for),
            self._find_rivals(cluster),
        )
        return Snapshot(
            cluster=cluster,
            deployment=owned_deployment,
            service=owned_service,
            scheduler_pods=tuple(
                Pod.from_manifest(pod, container=names.ROLE_SCHEDULER)
                for pod in pods
                if _role(pod) == names.ROLE_SCHEDULER
            ),
            worker_pods=workers,
            scheduler=view,
            calls=calls,
            templates=templates,
            workload=workload,
            rivals=rivals,
        )

    async def _try_templates(self, cluster: Cluster, deployment: Owned | None, service: Owned | None) -> TemplateCheck:
        if cluster.terminating or is_checked(cluster):
            return TemplateCheck()
        todo = trials(
            cluster,
            has_service=service is not None and service.ours,
            changes_deployment=deployment is not None
            and deployment.ours
            and is_scheduler_outdated(cluster, deployment),
        )
        answers = await asyncio.gather(*(self._try(trial) for trial in todo))
        return check(zip(todo, answers, strict=True))

    async def _try(self, trial: Trial) -> Refusal | None:
        try:
            await self._kubernetes.try_out(trial.manifest, change=trial.change)
        except Refused as error:
            return Refusal(error.status, str(error))
        except Unavailable as error:
            return Refusal(None, str(error))
        return None

    async def _ask(
        self,
        key: ClusterKey,
        cluster: Cluster,
        workers: tuple[Pod, ...],
        calls: RetireCalls,
        *,
        taken: tuple[str, ...],
    ) -> SchedulerView:
        if not needs_scheduler(cluster, workers):
            return NotAsked()
        if taken:
            # Another Cluster's scheduler would say that it doesn't know these workers.
            return Unreachable(f"the {taken[0]} {names.scheduler_name(key.name)} doesn't belong to this Cluster")
        drained = {address for entry in cluster.retiring if entry.drained for address in entry.addresses}
        try:
            return await self._scheduler(key).view(drained | calls.drained)
        except SchedulerError as error:
            return Unreachable(str(error))

    async def _ask_for_work(self, key: ClusterKey, what: Question | None) -> Workload | NotAsked | Unreachable:
        if what is None:
            return NotAsked()
        try:
            return await self._scheduler(key).workload(what)
        except SchedulerError as error:
            return Unreachable(str(error))

    async def _find_rivals(self, cluster: Cluster) -> Rivals:
        if not minds_rivals(cluster):
            return Rivals()
        try:
            return Rivals.of(await self._kubernetes.list_autoscalers(cluster.namespace), cluster.name)
        except (Refused, Unavailable) as error:  # such as an operator whose rights are those of an earlier version
            return Rivals(unknown=str(error))


def _role(pod: Manifest) -> str | None:
    role: str | None = pod["metadata"]["labels"].get(names.LABEL_ROLE)
    return role
