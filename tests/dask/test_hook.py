"""The preStop hook, run as the kubelet would run it, for workers of real schedulers."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import os
import runpy
import shlex
import shutil
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from dask_k8s_operator.clients.schedulerrpc import SchedulerRpc
from dask_k8s_operator.domain import names
from dask_k8s_operator.domain.hook import prestop_command
from dask_k8s_operator.domain.trouble import NO_HANDOVER
from dask_k8s_operator.hooks import __path__ as hooks
from tests.dask.support import PATIENCE_SECONDS, Withholding, end, free_port, local_dask, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    import httpx

    from tests.dask.support import LocalDask

GRACE_SECONDS = 300

NOWHERE = "192.0.2.1"
"""An IP that no worker has: these find their worker by its name, since all are on one loopback address."""

needs_sh = pytest.mark.skipif(shutil.which("sh") is None, reason="pods have a shell")
needs_loopback_net = pytest.mark.skipif(sys.platform != "linux", reason="needs more than one loopback address")


def environment(base_url: str, *, name: str = "pod-a", ip: str = NOWHERE, port: int | None = None) -> dict[str, str]:
    """The environment of the pod, and a proxy that leads nowhere."""
    return {
        **({} if port is None else {names.ENV_WORKER_PORT: str(port)}),
        "PATH": os.environ["PATH"],
        "http_proxy": f"http://127.0.0.1:{free_port()}",
        names.ENV_SCHEDULER_ADDRESS: "tcp://scheduler.invalid:8786",
        names.ENV_SCHEDULER_DASHBOARD: base_url,
        names.ENV_WORKER_NAME: name,
        names.ENV_WORKER_ADDRESS: ip,
    }


@contextlib.asynccontextmanager
async def hook(
    base_url: str,
    *,
    name: str = "pod-a",
    ip: str = NOWHERE,
    port: int | None = None,
    command: list[str] | None = None,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The hook of one pod, as a process."""
    process = await asyncio.create_subprocess_exec(
        *(command or without_operator()),
        env=environment(base_url, name=name, ip=ip, port=port),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        await end(process)


def without_operator() -> list[str]:
    """The hook where no operator comes first."""
    *command, turn = prestop_command(GRACE_SECONDS)
    assert float(turn) == 60
    return [*command, "0"]


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    """The exit status of the hook and what it said."""
    output, errors = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    return process.returncode, (output + errors).decode()


@needs_sh
class TestWithRealDask:
    """Schedulers and workers as they are."""

    async def test_one_of_three_hands_its_data_over(self, local: LocalDask) -> None:
        workers = [await local.worker(name) for name in ("pod-a", "pod-b", "pod-c")]
        data = await local.hold()
        assert workers[0].data

        async with hook(local.base_url) as process:
            assert await ended(process) == (0, "")

        assert local.scheduler.workers.keys() == {workers[1].address, workers[2].address}
        assert await data.lost(local) == []

    async def test_a_worker_that_gets_sigterm_after_the_hook_loses_nothing(self, local: LocalDask) -> None:
        worker = await local.worker_process("pod-a")
        await local.worker("pod-b")
        data = await local.hold()

        async with hook(local.base_url) as process:
            assert await ended(process) == (0, "")
        with contextlib.suppress(ProcessLookupError):
            worker.terminate()
        await asyncio.wait_for(worker.wait(), PATIENCE_SECONDS)

        assert await data.lost(local) == []

    async def test_the_only_worker_waits_until_another_joins(self, local: LocalDask) -> None:
        worker = await local.worker("pod-a")
        data = await local.hold()

        async with hook(local.base_url) as process:
            await until(local.refusals, "the hook was refused")
            assert process.returncode is None
            other = await local.worker("pod-b")
            assert await ended(process) == (0, "")

        assert local.scheduler.workers.keys() == {other.address}
        assert set(local.refusals()) == {worker.address}
        assert await data.lost(local) == []

    async def test_all_at_once_wait_for_their_replacements(self, local: LocalDask) -> None:
        for name in ("pod-a", "pod-b"):
            await local.worker(name)
        data = await local.hold()

        async with hook(local.base_url) as one, hook(local.base_url, name="pod-b") as two:
            await until(local.refusals, "a hook was refused")
            await local.worker("pod-c")
            assert await ended(one) == await ended(two) == (0, "")

        assert local.scheduler.aliases.keys() == {"pod-c"}
        assert await data.lost(local) == []

    async def test_beside_the_operators_own_call(self, local: LocalDask) -> None:
        worker, other = await local.worker("pod-a", kind=Withholding), await local.worker("pod-b")
        data = await local.hold()

        operators = asyncio.create_task(local.api.retire([worker.address]))
        await until(lambda: local.status(worker.address) == "closing_gracefully", "the operator's call runs")
        async with hook(local.base_url) as process:
            policies = local.scheduler.extensions["amm"].policies
            await until(lambda: sum("Retire" in repr(p) for p in policies) == 2, "the hook's call runs, too")
            worker.release.set()
            assert await ended(process) == (0, "")

        assert await asyncio.wait_for(operators, PATIENCE_SECONDS) == {worker.address}
        assert local.scheduler.workers.keys() == {other.address}
        assert await data.lost(local) == []

    async def test_leaves_it_to_the_operator_first(self, local: LocalDask) -> None:
        worker, other = await local.worker("pod-a"), await local.worker("pod-b")
        data = await local.hold()

        async with hook(local.base_url, command=prestop_command(GRACE_SECONDS)) as process:
            assert await local.api.retire([worker.address]) == {worker.address}
            assert await ended(process) == (0, "")

        retirements = [e for _, e in local.scheduler.get_events("all") if e["action"] == "retire-workers"]
        assert len(retirements) == 1
        assert local.scheduler.workers.keys() == {other.address}
        assert await data.lost(local) == []

    async def test_without_an_operator_one_comes_after_the_other(self, local: LocalDask) -> None:
        first, second, _ = [(await local.worker(name)).address for name in ("pod-a", "pod-b", "pod-c")]
        data = await local.hold()

        async with hook(local.base_url) as one, hook(local.base_url, name="pod-b") as two:
            assert await ended(one) == await ended(two) == (0, "")

        calls = [set(e["retired"]) for _, e in local.scheduler.get_events("all") if e["action"] == "retire-workers"]
        assert calls == [{address} for address in sorted((first, second))], "as the scheduler lists them"
        assert local.scheduler.aliases.keys() == {"pod-c"}
        assert await data.lost(local) == []

    async def test_frees_a_worker_wedged_in_closing_gracefully(self, local: LocalDask) -> None:
        worker = await local.worker("pod-a")
        data = await local.hold()
        await asyncio.gather(*(local.api.retire([worker.address]) for _ in range(2)))

        async with hook(local.base_url) as process:
            await until(lambda: len(local.refusals()) > 2, "the hook was refused, too")
            other = await local.worker("pod-b")
            assert await ended(process) == (0, "")

        assert local.scheduler.workers.keys() == {other.address}
        assert await data.lost(local) == []

    async def test_a_worker_that_is_not_registered_has_nothing_to_hand_over(self, local: LocalDask) -> None:
        other = await local.worker("pod-b")

        async with hook(local.base_url) as process:
            assert await ended(process) == (0, "")

        assert local.scheduler.workers.keys() == {other.address}

    @needs_loopback_net
    async def test_retires_every_worker_on_the_pods_ip(self, local: LocalDask) -> None:
        for name, host in (("x", "127.0.0.2"), (7, "127.0.0.2"), ("y", "127.0.0.3")):
            await local.worker(name, host=host)
        data = await local.hold()

        async with hook(local.base_url, ip="127.0.0.2") as process:
            assert await ended(process) == (0, "")

        assert local.scheduler.aliases.keys() == {"y"}
        assert await data.lost(local) == []


@needs_sh
class TestWithoutTheApi:
    """The scheduler's HTTP API is off, so that the hook can ask for nothing."""

    @staticmethod
    def command(turn: float) -> list[str]:
        return [*prestop_command(GRACE_SECONDS)[:-1], str(turn)]

    async def test_the_operator_retires_the_worker_by_another_way(self, http: httpx.AsyncClient) -> None:
        async with local_dask(http, routes=()) as local:
            worker = await local.worker("pod-a")
            await local.worker("pod-b")
            data = await local.hold()
            async with hook(local.base_url, ip="127.0.0.1", port=worker.port, command=self.command(60)) as process:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(process.wait(), 3)
                assert await SchedulerRpc(local.scheduler.address).retire([worker.address]) == {worker.address}
                assert await ended(process) == (0, "")
            assert await data.lost(local) == []

    async def test_complains_when_nobody_has_retired_the_worker(self, http: httpx.AsyncClient) -> None:
        async with local_dask(http, routes=()) as local, listening() as (port, _):
            begun = time.monotonic()
            async with hook(local.base_url, ip="127.0.0.1", port=port, command=self.command(1)) as process:
                status, said = await ended(process)
            assert time.monotonic() - begun > 4.5
        assert status == 1
        assert said.startswith(NO_HANDOVER)
        assert "HTTP API is off" in said

    async def test_a_worker_that_is_not_there_has_nothing_to_hand_over(self, http: httpx.AsyncClient) -> None:
        command = self.command(60)
        async with (
            local_dask(http, routes=()) as local,
            hook(local.base_url, ip="127.0.0.1", port=free_port(), command=command) as process,
        ):
            assert await ended(process) == (0, "")


async def timed(base_url: str) -> tuple[int | None, str, float]:
    """How the hook ends, and after how many seconds."""
    begun = time.monotonic()
    async with hook(base_url) as process:
        return *await ended(process), time.monotonic() - begun


@pytest.fixture(scope="module", autouse=True)
def without_scheduler() -> Iterator[list[Future[tuple[int | None, str, float]]]]:
    """Hooks that find no scheduler, which takes so long that other tests run meanwhile."""
    with ThreadPoolExecutor() as threads:
        urls = f"http://127.0.0.1:{free_port()}", "http://scheduler.invalid:8787"
        yield [threads.submit(asyncio.run, timed(url)) for url in urls]


@needs_sh
async def test_gives_up_when_the_scheduler_is_gone(
    without_scheduler: list[Future[tuple[int | None, str, float]]],
) -> None:
    for future in without_scheduler:
        status, said, seconds = await asyncio.wrap_future(future)
        assert (status, said) == (0, "")
        assert 8 <= seconds < 60  # nine pauses of 1.2 s on average, and whatever a busy machine needs for the rest


def hurried(pause: float = 0.05) -> list[str]:
    """The hook with pauses and timeouts that suit a test."""
    *command, source, turn = without_operator()
    for patient, hasty in (("sleep(pause)", f"sleep({pause})"), ("timeout=5", "timeout=0.3")):
        assert patient in source
        source = source.replace(patient, hasty)
    return [*command, source, turn]


class Script:
    """A server that gives each call these answers one after the other, the last one again and again.

    None is an answer that doesn't come.
    """

    def __init__(self, workers: list[web.Response | None], retire: list[web.Response]) -> None:
        self.looked = 0
        self.posted: list[list[int]] = []
        self._workers = workers
        self._retire = retire
        self._over = asyncio.Event()

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/api/v1/get_workers", self._get_workers)
        app.router.add_post("/api/v1/retire_workers", self._retire_workers)
        async with TestServer(app) as server:
            yield str(server.make_url("/"))
            self._over.set()

    async def _get_workers(self, _: web.Request) -> web.Response:
        answer = self._workers[min(self.looked, len(self._workers) - 1)]
        self.looked += 1
        if answer is None:
            await self._over.wait()
        return _fresh(answer)

    async def _retire_workers(self, request: web.Request) -> web.Response:
        addresses = (await request.json())["workers"]
        self.posted.append([int(address.rpartition(":")[2]) for address in addresses])
        return _fresh(self._retire[min(len(self.posted), len(self._retire)) - 1])


def _fresh(answer: web.Response | None) -> web.Response:
    """An answer that may be sent, unlike one that has been sent before."""
    return web.Response() if answer is None else web.Response(status=answer.status, text=answer.text)


def listed(*names: str) -> web.Response:
    workers = [{"name": name, "address": f"tcp://127.0.0.1:{number}"} for number, name in enumerate(names, 9000)]
    return web.json_response({"num_workers": len(workers), "workers": workers})


def retired(*ports: int) -> web.Response:
    return web.json_response({f"tcp://127.0.0.1:{port}": {} for port in ports})


def status(code: int) -> web.Response:
    return web.Response(status=code, text="{}")


async def played(script: Script) -> tuple[int | None, str]:
    """How the hook ends when the scheduler answers like this."""
    async with script.served() as url, hook(url, command=hurried()) as process:
        return await ended(process)


@needs_sh
class TestWithScriptedAnswers:
    """Answers that real schedulers give too rarely to wait for."""

    @pytest.mark.parametrize("answer", [None, status(500)], ids=["timeout", "error"])
    async def test_a_scheduler_in_trouble_is_asked_for_as_long_as_it_takes(self, answer: web.Response | None) -> None:
        script = Script([*[answer] * 7, listed("pod-a")], [retired(9000)])

        assert await played(script) == (0, "")
        assert script.posted == [[9000]]

    @pytest.mark.parametrize("code", [502, 503, 504])
    async def test_a_sidecar_that_says_that_the_scheduler_is_gone(self, code: int) -> None:
        script = Script([status(code)], [])

        assert await played(script) == (0, "")
        assert script.looked == 10

    async def test_gone_must_be_said_several_times_in_a_row(self) -> None:
        gone = [status(503)] * 9
        script = Script([*gone, listed("pod-a"), *gone, listed("pod-a")], [retired(), retired(9000)])

        assert await played(script) == (0, "")
        assert script.posted == [[9000], [9000]]

    async def test_a_worker_that_registers_late(self) -> None:
        script = Script([listed("pod-b"), listed("pod-b", "pod-a")], [retired(9001)])

        assert await played(script) == (0, "")
        assert script.posted == [[9001]]

    async def test_a_pod_with_several_workers(self) -> None:
        script = Script(
            [listed("pod-a-0", "pod-b-0", "pod-a-1"), listed("pod-a-1", "pod-b-0")], [retired(9002), retired(9000)]
        )

        assert await played(script) == (0, "")
        assert script.posted == [[9000, 9002], [9000]]

    async def test_gone_from_the_list_is_done_whatever_the_call_answered(self) -> None:
        """Old schedulers answer 500 after a retirement that worked."""
        script = Script([listed("pod-a"), listed("pod-b")], [status(500)])

        assert await played(script) == (0, "")
        assert script.posted == [[9000]]


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[tuple[int, asyncio.Event]]:
    """A worker's port, and whether anybody has tried it."""
    tried = asyncio.Event()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tried.set()
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], tried


@needs_sh
async def test_waits_for_the_worker_to_close_its_port() -> None:
    """A SIGTERM meanwhile would start a second closing beside the one under way."""
    script = Script([listed("pod-a"), listed("pod-b")], [retired(9000)])

    async with script.served() as url, contextlib.AsyncExitStack() as worker:
        port, tried = await worker.enter_async_context(listening())
        async with hook(url, ip="127.0.0.1", port=port, command=hurried(0.5)) as process:
            await asyncio.wait_for(tried.wait(), PATIENCE_SECONDS)
            assert script.posted == [[9000]]
            assert process.returncode is None
            await worker.aclose()
            assert await ended(process) == (0, "")


@needs_sh
async def test_a_worker_that_listens_may_register_yet() -> None:
    """Then it may be given data at once, which would be lost if the hook had ended."""
    script = Script([*[listed("pod-b")] * 8, listed("pod-a", "pod-b"), listed("pod-b")], [retired(9000)])

    async with (
        listening() as (port, _),
        script.served() as url,
        hook(url, ip="127.0.0.1", port=port, command=hurried()) as process,
    ):
        assert await ended(process) == (0, "")
    assert script.posted == [[9000]]


def fake_python(folder: Path, name: str) -> None:
    program = folder / name
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    program.chmod(0o755)


@needs_sh
@pytest.mark.parametrize("pythons", [["python"], ["python3"], ["python", "python3"]], ids="-".join)
async def test_any_name_of_python_will_do(tmp_path: Path, pythons: Iterable[str]) -> None:
    shell, *arguments = without_operator()
    for name in pythons:
        fake_python(tmp_path, name)
    command = ["env", f"PATH={tmp_path}", str(shutil.which(shell)), *arguments]

    script = Script([listed("pod-a")], [retired(9000)])
    async with script.served() as url, hook(url, command=command) as process:
        assert await ended(process) == (0, "")
    assert script.posted == [[9000]]


@needs_sh
async def test_a_process_of_the_pod_is_python_enough(tmp_path: Path) -> None:
    """As this one is, where a pod's worker would be."""
    shell, *arguments = without_operator()
    command = ["env", f"PATH={tmp_path}", str(shutil.which(shell)), *arguments]
    script = Script([listed("pod-a")], [retired(9000)])
    async with script.served() as url, hook(url, command=command) as process:
        assert await ended(process) == (0, "")
    assert script.posted == [[9000]]


@needs_sh
async def test_a_pod_without_python_is_told_of_at_once(tmp_path: Path) -> None:
    shell, option, program, *arguments = without_operator()
    program = program.replace("/proc/", f"{tmp_path}/")
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "exe").symlink_to("/bin/sh")
    command = ["env", f"PATH={tmp_path}", str(shutil.which(shell)), option, program, *arguments]
    async with hook("", command=command) as process:
        code, said = await ended(process)
    assert code == 1
    assert said.startswith(NO_HANDOVER)


def constants(monkeypatch: pytest.MonkeyPatch, **env: str) -> dict[str, Any]:
    """What the hook's module holds in a pod with this environment."""
    for variable in (names.ENV_SCHEDULER_ADDRESS, names.ENV_SCHEDULER_DASHBOARD):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in env.items():
        monkeypatch.setenv(variable, value)
    return runpy.run_path(str(Path(hooks[0]) / "retire_self.py"))


@pytest.mark.parametrize(
    ("address", "api"),
    [
        ("tcp://a-scheduler.ns.svc:8786", "http://a-scheduler.ns.svc:8787/api/v1/"),
        ("tls://a-scheduler.ns.svc:8786", "http://a-scheduler.ns.svc:8787/api/v1/"),
        ("a-scheduler:8786", "http://a-scheduler:8787/api/v1/"),
        ("a-scheduler", "http://a-scheduler:8787/api/v1/"),
        ("tcp://[fd00::1]:8786", "http://[fd00::1]:8787/api/v1/"),
    ],
)
def test_finds_the_api_beside_the_scheduler(monkeypatch: pytest.MonkeyPatch, address: str, api: str) -> None:
    assert constants(monkeypatch, DASK_SCHEDULER_ADDRESS=address)["API"] == api
    explicit = constants(monkeypatch, DASK_SCHEDULER_ADDRESS=address, DASK_SCHEDULER_DASHBOARD="http://elsewhere:1/")
    assert explicit["API"] == "http://elsewhere:1/api/v1/"


@pytest.mark.parametrize(
    ("name", "address", "own"),
    [
        ("c-worker-abc", "tcp://10.0.0.1:9000", True),
        ("c-worker-abc", "tcp://10.0.0.9:9000", True),  # it told the scheduler another address
        ("c-worker-abc-1", "tcp://10.0.0.9:9000", True),  # --nworkers
        ("mine", "tls://10.0.0.1:9000", True),
        ("7", "tcp://10.0.0.1:9000", True),
        ("c-worker-xyz", "tcp://10.0.0.9:9000", False),
        ("c-worker-xyz", "tcp://10.0.0.1:9000", False),  # another pod on the node's IP (hostNetwork)
        ("c-worker-abcd", "tcp://10.0.0.9:9000", False),
        ("mine", "tcp://10.0.0.11:9000", False),
    ],
)
def test_tells_its_own_workers(monkeypatch: pytest.MonkeyPatch, name: str, address: str, own: bool) -> None:
    pod = constants(monkeypatch, DASK_WORKER_NAME="c-worker-abc", DASK_WORKER_ADDRESS="10.0.0.1")
    assert bool(pod["_own"](name, address)) == own


def test_tells_its_own_workers_on_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    pod = constants(monkeypatch, DASK_WORKER_NAME="c-worker-abc", DASK_WORKER_ADDRESS="fd00::1")
    assert pod["_own"]("mine", "tcp://[fd00::1]:9000")


def test_without_a_name_the_ip_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    pod = constants(monkeypatch, DASK_WORKER_NAME="", DASK_WORKER_ADDRESS="10.0.0.1")
    assert pod["_own"]("", "tcp://10.0.0.1:9000")
    assert not pod["_own"]("", "tcp://10.0.0.2:9000")


def test_is_small_and_old_python_can_run_it() -> None:
    source = prestop_command(GRACE_SECONDS)[-2]
    ast.parse(source, feature_version=(3, 8))
    assert source.count("\n") <= 80
    assert '"""' not in source
    imported = {node.module for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)}
    imported |= {a.name for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Import) for a in n.names}
    assert {str(module).partition(".")[0] for module in imported} <= sys.stdlib_module_names
