"""A Kubernetes API, what runs in it, and the operator that looks after it."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from kmock import Server, action, method
from kubernetes.config import kube_config

from dask_k8s_operator.clients import schedulerrpc
from dask_k8s_operator.controller import operator
from dask_k8s_operator.domain import names
from dask_k8s_operator.settings import Settings
from tests.wire.apiserver import CLUSTERS, NAMESPACE, ApiServer, request_body
from tests.wire.dask import FakeDask
from tests.wire.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path


@pytest.fixture
async def dask() -> FakeDask:
    """The scheduler of the Cluster."""
    return FakeDask()


@pytest.fixture
async def api(dask: FakeDask) -> AsyncIterator[ApiServer]:
    """A Kubernetes API in which nothing is yet."""
    async with ApiServer(dask=dask) as handler, Server(handler):
        yield handler


@pytest.fixture
def world(api: ApiServer, dask: FakeDask) -> World:
    """What kubelets, controllers and users do."""
    return World(api, dask)


@pytest.fixture
def kubeconfig(api: ApiServer, tmp_path: Path) -> Path:
    """A kubeconfig that points to the API."""
    path = tmp_path / "kubeconfig"
    path.write_text(
        f"""
apiVersion: v1
kind: Config
clusters: [{{name: kmock, cluster: {{server: "{api.url}"}}}}]
contexts: [{{name: kmock, context: {{cluster: kmock, user: operator, namespace: {NAMESPACE}}}}}]
users: [{{name: operator, user: {{token: secret}}}}]
current-context: kmock
"""
    )
    return path


@pytest.fixture
def settings(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """How the operator is started where a test says nothing else."""
    # kopf's client reads the variable once, when it is imported, which in this process has happened.
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    return Settings(
        namespaces=(NAMESPACE,),
        kubeconfig=kubeconfig,
        scheduler_access="proxy",
        health_host="127.0.0.1",
        health_port=0,
        concurrency=4,
        lease=None,
    )


class Running(Protocol):
    """Runs the operator while a context is open, with other settings where any are given."""

    def __call__(self, **changes: Any) -> AbstractAsyncContextManager[asyncio.Task[None]]: ...


@pytest.fixture
def running(api: ApiServer, settings: Settings) -> Running:
    """Run the operator, and stop it as a kubelet would."""

    @asynccontextmanager
    async def run(**changes: Any) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(operator.run(replace(settings, **changes)))
        try:
            await api.until(lambda: task.done() or api.asked(action.WATCH, CLUSTERS), "the operator watches")
            yield task
        finally:
            if not task.done():
                signal.raise_signal(signal.SIGTERM)
            # How soon it ends is seen in `test_process.py`: here time is virtual, and passes while sockets wait.
            await asyncio.wait_for(task, 60)
            _check_writes(api)

    return run


def _check_writes(api: ApiServer) -> None:
    """The operator writes nothing of a Cluster but its status and its size, and kopf writes nothing at all."""
    for request in api.asked():
        if request.method == method.GET:
            continue
        assert "kopf" not in request.headers["User-Agent"]
        if request.resource == CLUSTERS and request.method == method.DELETE:
            assert set(request_body(request)["preconditions"]) == {"uid", "resourceVersion"}
        elif request.resource == CLUSTERS:
            assert request.method == method.PATCH
            part = {"status": "status", "scale": "spec"}[str(request.subresource)]
            assert set(request_body(request)) == {"metadata", part}
            assert set(request_body(request)["metadata"]) == {"resourceVersion"}
            if request.subresource == "scale":
                assert set(request_body(request)["spec"]) == {"replicas"}


@pytest.fixture
async def inside(dask: FakeDask, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[tuple[str, str]]]:
    """Be where the names of Services are known; gives the Clusters, with namespace, whose scheduler was looked up."""
    looked_up: list[tuple[str, str]] = []
    async with dask.serve() as port:

        def dashboard_address(cluster: str, namespace: str) -> str:
            looked_up.append((cluster, namespace))
            return f"http://127.0.0.1:{port}"

        monkeypatch.setattr(names, "dashboard_address", dashboard_address)
        # Nobody listens there, and Dask tries for as long as it may.
        monkeypatch.setattr(names, "scheduler_address", lambda *_: "tcp://127.0.0.1:1")
        monkeypatch.setattr(schedulerrpc, "CONNECT_SECONDS", 0.1)
        yield looked_up
