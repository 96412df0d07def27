"""The one module that uses kopf: events, as wake-ups and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import kopf

from dask_k8s_operator.clients.kubernetes import ConfigurationError
from dask_k8s_operator.controller.keys import ClusterKey
from dask_k8s_operator.domain import names

if TYPE_CHECKING:
    import asyncio

    from dask_k8s_operator.controller.generations import Generations

Wake = Callable[[ClusterKey, float], None]

SETTLE_SECONDS = 0.05
"""A hundred pods that start together tell a hundred things: one look after the first of them sees most."""

WATCH_SECONDS = 300
"""After this long a watch is opened anew: one that went silent without an error is noticed."""


async def watch(wake: Wake, generations: Generations, *, namespaces: tuple[str, ...], stop: asyncio.Event) -> None:
    """Watch Clusters and what belongs to them until cancelled.

    Only `on.event` handlers are used: they write nothing to the resources, neither finalizers nor annotations
    (`tests/wire` pins that).

    Args:
        wake: called with the key of the Cluster that an event is about, and the seconds to wait for more events.
        generations: is told what each event says of a Cluster's.
        namespaces: those to watch; empty: all.
        stop: set when a signal says that the process is to end: kopf takes SIGTERM and SIGINT for itself.

    Raises:
        ConfigurationError: the API server refuses the credentials, and no others are to be had.
    """
    try:
        await kopf.operator(
            registry=_registry(wake, generations, stop),
            settings=_settings(),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
        )
    except kopf.LoginError as error:
        whose = "of the kubeconfig or of the pod's service account"
        raise ConfigurationError(f"the API server no longer takes the credentials {whose}: renew them") from error


def _registry(wake: Wake, generations: Generations, stop: asyncio.Event) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(_log_in)

    @kopf.on.cleanup(registry=registry)
    async def _stopping(**_: Any) -> None:
        stop.set()

    # Handlers return nothing: kopf would write a returned value to the status. They are coroutines: kopf runs
    # anything else in threads, and the queue belongs to the event loop.
    @kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=registry)
    async def _cluster_changed(
        *, event: kopf.RawEvent, name: str, namespace: str | None, meta: kopf.Meta, **_: Any
    ) -> None:
        key = ClusterKey(str(namespace), name)
        news = generations.tell(
            key, uid=meta["uid"], generation=meta["generation"], deleted=meta.get("deletionTimestamp")
        )
        # Anything else that is modified is the status, by the operator itself. If that woke it, a status that says
        # something new about each try would start the next one at once, against the backoff.
        if event["type"] != "MODIFIED" or news:
            wake(key, 0.0)
        if event["type"] == "DELETED":
            generations.forget(key)

    async def _child_changed(*, namespace: str | None, labels: kopf.Labels, **_: Any) -> None:
        wake(ClusterKey(str(namespace), labels[names.LABEL_CLUSTER]), SETTLE_SECONDS)

    ours = {names.LABEL_CLUSTER: kopf.PRESENT}
    kopf.on.event("v1", "pods", labels=ours, registry=registry)(_child_changed)
    kopf.on.event("v1", "services", labels=ours, registry=registry)(_child_changed)
    kopf.on.event("apps", "v1", "deployments", labels=ours, registry=registry)(_child_changed)
    return registry


def _log_in(**kwargs: Any) -> kopf.ConnectionInfo | None:
    return kopf.login_via_client(**kwargs)


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    # Neither CustomResourceDefinitions nor namespaces are watched, which spares the permission to.
    settings.scanning.disabled = True
    # Events that are still queued when the operator stops are worth nothing: the next one starts by listing.
    settings.queueing.exit_timeout = 0.1
    settings.process.ultimate_exiting_timeout = None
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = WATCH_SECONDS + 30
    for plural in ("pods", "services", "deployments"):
        settings.watching.label_selectors[plural] = names.LABEL_CLUSTER
    return settings
