"""The RPC client: what it makes of the answers of real schedulers, of their errors and of their silence."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

import distributed
import pytest

from dask_k8s_operator.clients import schedulerrpc
from dask_k8s_operator.clients.scheduler import SchedulerFailed, SchedulerUnreachable
from dask_k8s_operator.clients.schedulerrpc import SchedulerRpc, SchedulerRpcUnusable
from dask_k8s_operator.domain.snapshot import Worker
from tests.dask.support import PATIENCE_SECONDS, free_port, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.dask.support import FrozenScheduler, LocalDask

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="freezes a process")


@pytest.fixture
def rpc(local: LocalDask) -> SchedulerRpc:
    """The client of `local`."""
    return SchedulerRpc(local.scheduler.address)


def hold_up(name: str) -> str:
    """Say that it has started, wait for its release, and return the name of its worker."""
    distributed.Event(f"started-{name}").set()
    distributed.Event(f"release-{name}").wait()
    return str(distributed.get_worker().name)


async def begin(local: LocalDask, worker: Any, name: str) -> Any:
    """Have a task that runs on this worker until it is released."""
    future = local.client.submit(hold_up, name, key=name, workers=[worker.address], allow_other_workers=True)
    await distributed.Event(f"started-{name}").wait()
    return future


class TestWorkers:
    """Who is registered."""

    async def test_names_are_strings(self, local: LocalDask, rpc: SchedulerRpc) -> None:
        addresses = {name: (await local.worker(name)).address for name in ("pod-a", 7)}
        assert set(await rpc.workers()) == {Worker("pod-a", addresses["pod-a"]), Worker("7", addresses[7])}

    async def test_there_may_be_none(self, rpc: SchedulerRpc) -> None:
        assert await rpc.workers() == ()


class TestDetail:
    """What is known before somebody is retired."""

    async def test_there_may_be_nobody(self, rpc: SchedulerRpc) -> None:
        detail = await rpc.detail(())
        assert (detail.running, detail.executing, detail.held_bytes, detail.closable) == (frozenset(), {}, {}, ())

    async def test_a_drained_worker_does_not_run(self, local: LocalDask, rpc: SchedulerRpc) -> None:
        worker, other = await local.worker("pod-a"), await local.worker("pod-b")
        assert (await rpc.detail(())).running == {worker.address, other.address}
        await rpc.drain([worker.address])
        assert (await rpc.detail(())).running == {other.address}

    async def test_a_paused_worker_does_not_run(self, local: LocalDask, rpc: SchedulerRpc) -> None:
        worker = await local.worker("pod-a")
        worker.status = distributed.Status.paused
        await until(lambda: local.status(worker.address) == "paused", "the scheduler knows of the pause")
        assert (await rpc.detail(())).running == frozenset()

    async def test_held_bytes_and_the_order_to_close_them_in(self, local: LocalDask, rpc: SchedulerRpc) -> None:
        much, little, none = [await local.worker(name) for name in ("much", "little", "none")]
        sizes = {much: 20_000, little: 10_000}
        held = [await local.client.scatter(b"x" * size, workers=[w.address]) for w, size in sizes.items()]

        async def reported() -> bool:
            told = (await rpc.detail(())).held_bytes
            return all(told[w.address] >= size for w, size in sizes.items())

        await until(reported, "the workers' heartbeats tell what they hold")
        detail = await rpc.detail(())
        assert detail.held_bytes.keys() == {much.address, little.address, none.address}
        assert detail.held_bytes[none.address] == 0
        assert detail.held_bytes[little.address] < 11_000
        assert detail.closable == (none.address, little.address, much.address)

        del held
        await until(lambda: not local.scheduler.tasks, "the data is released")

        async def forgotten() -> bool:
            return not any((await rpc.detail(())).held_bytes.values())

        await until(forgotten, "the heartbeats tell that nothing is held any more")

    async def test_busy_workers_are_closed_after_idle_ones(self, local: LocalDask, rpc: SchedulerRpc) -> None:
        busy, idle = await local.worker("busy"), await local.worker("idle")
        held = await local.client.scatter(b"x" * 10_000, workers=[idle.address])
        future = await begin(local, busy, "a")
        assert (await rpc.detail(())).closable == (idle.address, busy.address)
        await distributed.Event("release-a").set()
        await future
        del held

    async def test_asks_only_drained_workers_for_running_tasks(self, local: LocalDask, rpc: SchedulerRpc) -> None:
        worker, drained = await local.worker("pod-a"), await local.worker("pod-b")
        future = await begin(local, worker, "a")
        await rpc.drain([drained.address])
        assert (await rpc.detail([drained.address])).executing == {drained.address: 0}
        await distributed.Event("release-a").set()
        await future

    async def test_a_worker_that_left_runs_nothing(self, local: LocalDask, rpc: SchedulerRpc) -> None:
        await local.worker("pod-a")
        assert (await rpc.detail(["tcp://127.0.0.1:1"])).executing == {}

    async def test_what_runs_on_a_drained_worker_counts_and_what_never_starts_does_not(
        self, local: LocalDask, rpc: SchedulerRpc
    ) -> None:
        worker, _ = await local.worker("pod-a"), await local.worker("pod-b")
        running = await begin(local, worker, "running")
        ready = local.client.submit(hold_up, "ready", key="ready", workers=[worker.address], allow_other_workers=True)
        await until(lambda: len(local.scheduler.workers[worker.address].processing) == 2, "both are on the worker")
        await rpc.drain([worker.address])
        # At once, whatever the last heartbeat said, which was maybe sent before the task began.
        assert (await rpc.detail([worker.address])).executing == {worker.address: 1}

        await distributed.Event("release-running").set()
        assert await running == "pod-a"

        async def idle() -> bool:
            return (await rpc.detail([worker.address])).executing == {worker.address: 0}

        await until(idle, "the worker runs nothing")
        assert len(local.scheduler.workers[worker.address].processing) == 1, "and yet one was given to it"
        await distributed.Event("release-ready").set()
        assert await rpc.retire([worker.address]) == {worker.address}
        assert await asyncio.wait_for(ready, PATIENCE_SECONDS) == "pod-b"

    async def test_a_task_that_seceded_still_runs(self, local: LocalDask, rpc: SchedulerRpc) -> None:
        worker, _ = await local.worker("pod-a"), await local.worker("pod-b")

        def secede() -> None:
            distributed.secede()
            hold_up("a")

        future = local.client.submit(secede, workers=[worker.address])
        await distributed.Event("started-a").wait()
        await until(lambda: local.scheduler.workers[worker.address].long_running, "the scheduler knows")
        await rpc.drain([worker.address])
        assert (await rpc.detail([worker.address])).executing == {worker.address: 1}

        async def told() -> bool:
            metrics = local.scheduler.identity()["workers"][worker.address]["metrics"]
            return bool(metrics["task_counts"].get("long-running"))

        await until(told, "a heartbeat tells")
        assert (await rpc.detail([worker.address])).executing == {worker.address: 1}
        await distributed.Event("release-a").set()
        await future

    async def test_several_are_asked_side_by_side(
        self, local: LocalDask, rpc: SchedulerRpc, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One that is frozen takes its whole time: with one after the other, that would add up."""
        monkeypatch.setattr(schedulerrpc, "STACKS_AT_A_TIME", 2)
        addresses = [(await local.worker(f"pod-{n}")).address for n in range(3)]
        waiting: list[object] = []
        release = asyncio.Event()

        async def call_stack(keys: object) -> dict[str, object]:
            waiting.append(keys)
            await release.wait()
            return {}

        local.scheduler.handlers["call_stack"] = call_stack
        local.scheduler.handlers["processing"] = lambda: {address: ["some-task"] for address in addresses}
        asking = asyncio.create_task(rpc.detail(addresses))
        await until(lambda: len(waiting) == 2, "two of the three are asked for")
        release.set()
        assert (await asking).executing == dict.fromkeys(addresses, 0)
        assert len(waiting) == 3

    @needs_signals
    async def test_a_frozen_worker_counts_as_busy(
        self, local: LocalDask, rpc: SchedulerRpc, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(schedulerrpc, "STACK_SECONDS", 0.5)
        process = await local.worker_process("pod-a")
        address = local.address("pod-a")
        process.send_signal(signal.SIGSTOP)
        futures = [local.client.submit(hold_up, str(n), workers=[address]) for n in range(2)]
        await until(lambda: len(local.scheduler.workers[address].processing) == 2, "both are given to the worker")
        assert local.scheduler.workers[address].metrics["task_counts"] == {}, "no heartbeat tells of them"

        begun = time.monotonic()
        assert (await rpc.detail([address])).executing == {address: 2}
        assert 0.5 <= time.monotonic() - begun < 10

        process.send_signal(signal.SIGCONT)
        for n in range(2):
            await distributed.Event(f"release-{n}").set()
        assert await asyncio.wait_for(local.client.gather(futures), PATIENCE_SECONDS) == ["pod-a"] * 2


class TestDrainAndRetire:
    """What changes something."""

    async def test_a_drained_worker_stays_and_its_data_is_kept(self, local: LocalDask, rpc: SchedulerRpc) -> None:
        worker, other = await local.worker("pod-a"), await local.worker("pod-b")
        data = await local.hold()

        assert await rpc.drain([worker.address]) == {worker.address}
        assert {w.address for w in await rpc.workers()} == {worker.address, other.address}
        assert local.status(worker.address) == "closing_gracefully"
        assert await local.client.submit(lambda: distributed.get_worker().name) == "pod-b"

        assert await rpc.retire([worker.address]) == {worker.address}
        assert [w.address for w in await rpc.workers()] == [other.address]
        await asyncio.wait_for(worker.finished(), PATIENCE_SECONDS)
        assert await data.lost(local) == []

    @pytest.mark.parametrize("call", [SchedulerRpc.drain, SchedulerRpc.retire])
    async def test_the_last_worker_with_data_is_refused(
        self, call: Callable[..., Any], local: LocalDask, rpc: SchedulerRpc
    ) -> None:
        worker = await local.worker("pod-a")
        data = await local.hold()
        assert await call(rpc, [worker.address]) == frozenset()
        assert [w.address for w in await rpc.workers()] == [worker.address]
        assert await data.lost(local) == []

    @pytest.mark.parametrize("call", [SchedulerRpc.drain, SchedulerRpc.retire])
    async def test_unknown_addresses_are_left_out(
        self, call: Callable[..., Any], local: LocalDask, rpc: SchedulerRpc
    ) -> None:
        worker = await local.worker("pod-a")
        assert await call(rpc, ["tcp://127.0.0.1:1", worker.address]) == {worker.address}

    @pytest.mark.parametrize("call", [SchedulerRpc.drain, SchedulerRpc.retire])
    async def test_the_scheduler_never_chooses(
        self, call: Callable[..., Any], local: LocalDask, rpc: SchedulerRpc
    ) -> None:
        worker = await local.worker("pod-a")
        with pytest.raises(ValueError, match="no addresses"):
            await call(rpc, [])
        assert [w.address for w in await rpc.workers()] == [worker.address]


def calls(rpc: SchedulerRpc) -> dict[str, Callable[[], Any]]:
    """Every method, with arguments that do no harm."""
    nobody = ["tcp://127.0.0.1:1"]
    return {
        "workers": rpc.workers,
        "detail": lambda: rpc.detail(nobody),
        "drain": lambda: rpc.drain(nobody),
        "retire": lambda: rpc.retire(nobody),
    }


@pytest.mark.parametrize("method", ["workers", "detail", "drain", "retire"])
class TestNoAnswer:
    """A scheduler that isn't there, or is silent."""

    async def test_nobody_listens(self, method: str) -> None:
        """That shows at once: the time that a busy scheduler gets isn't waited for."""
        address = f"tcp://127.0.0.1:{free_port()}"
        begun = time.monotonic()
        with pytest.raises(SchedulerRpcUnusable, match=address):
            await calls(SchedulerRpc(address))[method]()
        assert time.monotonic() - begun < schedulerrpc.CONNECT_SECONDS

    async def test_no_such_name(self, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
        async def unknown(*_: object, **__: object) -> NoReturn:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
        with pytest.raises(SchedulerUnreachable, match=r"scheduler\.invalid:8786"):
            await calls(SchedulerRpc("tcp://scheduler.invalid:8786"))[method]()

    async def test_something_else_listens(self, method: str) -> None:
        async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
            address = "tcp://{}:{}".format(*server.sockets[0].getsockname())
            with pytest.raises(SchedulerRpcUnusable, match=address):
                await asyncio.wait_for(calls(SchedulerRpc(address))[method](), PATIENCE_SECONDS)

    @needs_signals
    async def test_frozen(self, method: str, frozen: FrozenScheduler, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its kernel accepts the connection, and that is all."""
        monkeypatch.setattr(schedulerrpc, "ASK_SECONDS", 0.5)
        begun = time.monotonic()
        with pytest.raises(SchedulerUnreachable, match=frozen.address) as caught:
            await calls(SchedulerRpc(frozen.address))[method]()
        assert caught.type is SchedulerUnreachable, "it may answer next time"
        assert 0.5 <= time.monotonic() - begun < 10

    async def test_busy_with_the_answer(
        self, method: str, local: LocalDask, rpc: SchedulerRpc, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The greeting was exchanged; what was asked for is never answered."""
        monkeypatch.setattr(schedulerrpc, "ASK_SECONDS", 0.5)
        monkeypatch.setattr(schedulerrpc, "RETIRE_SECONDS", 0.5)

        async def never(**_: object) -> None:
            await asyncio.Event().wait()

        for operation in ("identity", "retire_workers"):
            local.scheduler.handlers[operation] = never
        begun = time.monotonic()
        with pytest.raises(SchedulerUnreachable, match="TimeoutError") as caught:
            await calls(rpc)[method]()
        assert caught.type is SchedulerUnreachable, "it may answer next time"
        assert 0.5 <= time.monotonic() - begun < 10


@pytest.mark.parametrize("method", ["workers", "detail", "drain", "retire"])
class TestErrors:
    """A scheduler that answers, but not with what was asked for."""

    @pytest.mark.parametrize(
        "error", [RuntimeError("broken inside"), KeyError("broken inside"), OSError("broken inside"), TimeoutError()]
    )
    async def test_it_raises(self, method: str, error: Exception, local: LocalDask, rpc: SchedulerRpc) -> None:
        """Its own OSError or TimeoutError, too, is an answer: nothing says that nobody can be reached."""

        async def fail(**_: object) -> None:
            raise error

        for operation in ("identity", "retire_workers"):
            local.scheduler.handlers[operation] = fail
        with pytest.raises(SchedulerFailed, match=type(error).__name__):
            await calls(rpc)[method]()

    async def test_it_does_not_know_the_operation(self, method: str, local: LocalDask, rpc: SchedulerRpc) -> None:
        for operation in ("identity", "retire_workers"):
            del local.scheduler.handlers[operation]
        with pytest.raises(SchedulerFailed):
            await calls(rpc)[method]()

    @pytest.mark.parametrize("answer", [None, 7, {"workers": {"tcp://127.0.0.1:1": {}}}, {"workers": None}])
    async def test_its_answer_makes_no_sense(
        self, method: str, answer: object, local: LocalDask, rpc: SchedulerRpc
    ) -> None:
        async def nonsense(**_: object) -> object:
            return answer

        for operation in ("identity", "workers_to_close"):
            local.scheduler.handlers[operation] = nonsense
        local.scheduler.handlers["retire_workers"] = lambda **_: None
        with pytest.raises(SchedulerFailed, match="understood"):
            await calls(rpc)[method]()
