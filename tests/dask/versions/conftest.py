"""Dask clusters of each version, of processes on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dask_k8s_operator.clients.access import Scheduler
from dask_k8s_operator.clients.scheduler import HttpTransport, SchedulerClient
from dask_k8s_operator.clients.schedulerrpc import SchedulerRpc
from dask_k8s_operator.domain import names
from dask_k8s_operator.domain.manifests import HTTP_ROUTES
from tests.dask.support import LOOPBACK, PATIENCE_SECONDS, until
from tests.dask.versions.environments import VERSIONS, python_with

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx


class Processes:
    """Processes of one environment, in a folder, that are killed at the end."""

    def __init__(self, python: Path, folder: Path, stack: contextlib.ExitStack) -> None:
        self.python = python
        self.folder = folder
        self._stack = stack

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start Python with these arguments."""
        # The variable is what the manifests set; the rest of the environment must not lead to the operator's Dask.
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder), names.ENV_ROUTES: str(list(HTTP_ROUTES))}
        process = subprocess.Popen([self.python, *arguments], cwd=self.folder, env=env, text=True, **options)  # noqa: S603 -- our own
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process


class Holder:
    """The client; see `holder.py`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, command: str, *arguments: str) -> Any:
        """Have it do something, and give its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([command, arguments]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


class OtherDask:
    """A scheduler with its HTTP API on, and workers as asked for."""

    def __init__(self, processes: Processes, http: httpx.AsyncClient) -> None:
        """Start the scheduler."""
        self.processes = processes
        file = processes.folder / "scheduler.json"
        options = ["--port=0", "--dashboard-address=127.0.0.1:0", f"--scheduler-file={file}", *LOOPBACK]
        processes.start("-m", "distributed.cli.dask_scheduler", *options)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not file.exists() or not file.read_text().endswith("}"):
            assert time.monotonic() < deadline, "the scheduler hasn't started"
            time.sleep(0.01)
        found = json.loads(file.read_text())
        self.address: str = found["address"]
        self.base_url = f"http://127.0.0.1:{found['services']['dashboard']}"
        self.http = SchedulerClient(HttpTransport(http, self.base_url))
        self.rpc = SchedulerRpc(self.address)
        self.operators = Scheduler(self.http, self.rpc)
        # Where there is nothing, as where the routes of the API are left out.
        self.operators_without_api = Scheduler(SchedulerClient(HttpTransport(http, f"{self.base_url}/off")), self.rpc)

    async def worker(self, *pods: str) -> list[str]:
        """Start workers of these names, as in pods, and give their addresses once all have joined."""
        for pod in pods:
            options = ["--no-nanny", "--name", pod, "--nthreads=1", *LOOPBACK]
            self.processes.start("-m", "distributed.cli.dask_worker", *options, self.address)

        async def joined() -> bool:
            return set(pods) <= {worker.name for worker in await self.http.workers()}

        await until(joined, f"{pods} are registered")
        addresses = {worker.name: worker.address for worker in await self.http.workers()}
        return [addresses[pod] for pod in pods]

    async def addresses(self) -> set[str]:
        """Who is registered."""
        return {worker.address for worker in await self.http.workers()}

    def holder(self) -> Holder:
        """Start a client."""
        arguments = [str(Path(__file__).with_name("holder.py")), self.address, str(self.processes.folder)]
        return Holder(self.processes.start(*arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE))


@pytest.fixture(scope="package", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """The version of Dask."""
    return str(request.param)


@pytest.fixture
def other(version: str, tmp_path: Path, http: httpx.AsyncClient) -> Iterator[OtherDask]:
    """A scheduler of that version."""
    with contextlib.ExitStack() as stack:
        yield OtherDask(Processes(python_with(version), tmp_path, stack), http)
