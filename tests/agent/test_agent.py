"""The agent against a real scheduler and real worker processes: it must notice what they lose, and nothing else."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import distributed
import pytest

from dask_k8s_operator.clients.scheduler import http_client
from integration.agent.client import Agent, AgentError, local_relay, source
from tests.dask.support import PATIENCE_SECONDS, LocalDask, local_dask, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SCATTERED = 12
COMPUTED = 12


@pytest.fixture
def agent_port() -> Iterator[int]:
    """An agent of one's own, on this port; not connected to anything."""
    command = [sys.executable, "-u", "-c", source("program"), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 (nothing in it comes from outside)
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@pytest.fixture
def agent(agent_port: int) -> Iterator[Agent]:
    """An agent that is not connected."""
    with Agent(local_relay(agent_port)) as agent:
        yield agent


@pytest.fixture
async def dask(agent: Agent) -> AsyncIterator[LocalDask]:
    """A scheduler with two workers, and the agent connected to it."""
    async with http_client() as http, local_dask(http) as dask:
        for name in ("pod-a", "pod-b"):
            await dask.worker(name)
        await asyncio.to_thread(agent.connect, dask.scheduler.address)
        yield dask
        await asyncio.to_thread(agent.release)


async def hold(agent: Agent) -> None:
    held = await asyncio.to_thread(agent.hold, scattered=SCATTERED, computed=COMPUTED)
    assert (held.scattered, held.computed) == (SCATTERED, COMPUTED)


async def keys_on(dask: LocalDask, name: str, prefix: str) -> set[str]:
    held = dask.scheduler.workers[dask.address(name)].has_what
    return {task.key for task in held if str(task.key).startswith(prefix)}


async def kill(dask: LocalDask, name: str, process: asyncio.subprocess.Process) -> None:
    process.kill()
    await until(lambda: name not in dask.scheduler.aliases, "the scheduler has noticed")


@pytest.mark.usefixtures("dask")
async def test_work_takes_as_long_as_it_is_told_to(agent: Agent) -> None:
    began = time.monotonic()
    held = await asyncio.to_thread(agent.work, tasks=4, seconds=1.0)
    assert held.computed == 4
    assert time.monotonic() - began >= 1.0
    audit = await asyncio.to_thread(agent.audit)
    assert (audit.intact, audit.held) == (True, 4)


@pytest.mark.parametrize(("where", "elsewhere"), [("pod-a", 0), ("pod-c", 1)])
async def test_the_starts_of_a_task_are_counted(agent: Agent, dask: LocalDask, where: str, elsewhere: int) -> None:
    """One that is retired while it runs starts again on another worker, and the first start isn't forgotten."""
    await dask.worker_process("pod-c")
    (worker,) = [one for one in await asyncio.to_thread(agent.workers) if one.name == where]
    await asyncio.to_thread(agent.begin, [worker], seconds=2.0)
    assert await asyncio.to_thread(agent.starts) == {"begun-1": (where,)}
    assert await dask.api.retire([dask.address("pod-c")])
    assert (await asyncio.to_thread(agent.finish)).computed == 1
    ((first, *others),) = (await asyncio.to_thread(agent.starts)).values()
    assert first == where
    assert len(others) == elsewhere
    assert "pod-c" not in others
    audit = await asyncio.to_thread(agent.audit)
    assert audit.intact
    await asyncio.to_thread(agent.release)
    assert await asyncio.to_thread(agent.starts) == {}


@pytest.mark.usefixtures("dask")
async def test_what_stays_is_intact(agent: Agent) -> None:
    await hold(agent)
    audit = await asyncio.to_thread(agent.audit)
    assert audit.intact
    assert audit.held == SCATTERED + COMPUTED
    workers = await asyncio.to_thread(agent.wait_for_workers, 2)
    assert {worker.name for worker in workers} == {"pod-a", "pod-b"}
    assert sum(worker.keys for worker in workers) == SCATTERED + COMPUTED
    assert all(worker.bytes > 0 for worker in workers)


async def test_retirements_in_the_midst_of_work_lose_nothing(agent: Agent, dask: LocalDask) -> None:
    await hold(agent)
    await asyncio.to_thread(agent.persist, partitions=8, files=80)
    await asyncio.to_thread(agent.start)
    await dask.worker("pod-c")
    for name in ("pod-a", "pod-b"):
        before = await asyncio.to_thread(agent.progress)
        await asyncio.to_thread(agent.wait_for_answers, before.answers + 2)  # a retirement in the midst of work
        assert await dask.api.retire([dask.address(name)])
    progress = await asyncio.to_thread(agent.stop)
    assert progress.answers > 4
    assert progress.wrong == 0
    total = await asyncio.to_thread(agent.total)
    assert total.equal
    assert total.words > 10_000
    audit = await asyncio.to_thread(agent.audit)
    assert audit.intact, audit
    assert audit.held == SCATTERED + COMPUTED + 2 * 8


async def test_a_task_that_a_retirement_interrupts_is_not_recomputed(agent: Agent, dask: LocalDask) -> None:
    """It runs again elsewhere, but its result was never in memory before."""
    process = await dask.worker_process("pod-c")
    address = dask.address("pod-c")
    await hold(agent)
    slow = dask.client.submit(time.sleep, 1, key="slow", workers=[address], allow_other_workers=True)
    await until(lambda: dask.scheduler.workers[address].processing, "it was sent to pod-c")
    assert await dask.api.retire([address])
    await slow
    assert dask.scheduler.tasks["slow"].who_has, "it ran elsewhere"
    assert (await asyncio.to_thread(agent.audit)).intact
    await process.wait()


async def test_a_killed_worker_loses_what_was_scattered_and_has_the_rest_recomputed(
    agent: Agent, dask: LocalDask
) -> None:
    process = await dask.worker_process("pod-c")
    await hold(agent)
    scattered = await keys_on(dask, "pod-c", "scattered")
    computed = await keys_on(dask, "pod-c", "computed")
    assert scattered
    assert computed
    await kill(dask, "pod-c", process)
    # The others compute again what can be computed; whether they are done doesn't matter.
    audit = await asyncio.to_thread(agent.audit)
    assert set(audit.lost) == scattered
    assert set(audit.recomputed) == computed
    assert audit.wrong == ()
    await until(lambda: all(dask.scheduler.tasks[key].who_has for key in computed), "they were computed again")
    assert await asyncio.to_thread(agent.audit) == audit, "and that they were is not forgotten"


async def test_what_nobody_can_compute_again_yet_counts_too(agent: Agent, dask: LocalDask) -> None:
    await hold(agent)
    await dask.client.run(_leave)
    await until(lambda: not dask.scheduler.workers, "the scheduler has noticed")
    audit = await asyncio.to_thread(agent.audit)
    assert len(audit.lost) == SCATTERED
    assert len(audit.recomputed) == COMPUTED


async def test_an_intermediate_result_that_runs_again_counts(agent: Agent, dask: LocalDask) -> None:
    """As those of queries: needed by a task that waits, and held only by the worker that is killed."""
    process = await dask.worker_process("pod-c")
    address = dask.address("pod-c")
    first = dask.client.submit(_double, 1, key="first", workers=[address], allow_other_workers=True)
    second = dask.client.submit(_double, first, key="second", workers=[address], allow_other_workers=True)
    third = dask.client.submit(_double, second, key="third", workers=["pod-d"])  # which isn't there yet
    await distributed.wait(second)
    first.release()
    second.release()
    await kill(dask, "pod-c", process)
    await dask.worker_process("pod-d")
    assert await third == 8
    await hold(agent)
    audit = await asyncio.to_thread(agent.audit)
    assert set(audit.recomputed) == {"first", "second"}
    assert audit.lost == ()


async def test_a_changed_value_is_wrong(agent: Agent, dask: LocalDask) -> None:
    await hold(agent)
    await dask.client.run(_change, "scattered-3")
    audit = await asyncio.to_thread(agent.audit)
    assert audit.wrong == ("scattered-3",)
    assert audit.lost == ()
    assert not audit.intact


async def test_released_data_is_forgotten(agent: Agent, dask: LocalDask) -> None:
    await hold(agent)
    await asyncio.to_thread(agent.persist, partitions=2, files=10)
    assert (await asyncio.to_thread(agent.total)).equal
    await asyncio.to_thread(agent.release)
    await until(lambda: not dask.scheduler.tasks, "the scheduler holds nothing any more")
    audit = await asyncio.to_thread(agent.audit)
    assert audit.held == 0
    assert not audit.intact, "nothing to look at proves nothing"


async def test_a_restarted_scheduler_is_noticed(agent: Agent, dask: LocalDask) -> None:
    await hold(agent)
    await dask.client.unregister_scheduler_plugin("run-counter")
    with pytest.raises(AgentError, match="run-counter"):
        await asyncio.to_thread(agent.audit)


@pytest.mark.usefixtures("dask")
async def test_a_wait_that_fails_says_what_there_is(agent: Agent) -> None:
    with pytest.raises(AgentError, match=r"still not 5 running workers.*pod-a.*pod-b"):
        await asyncio.to_thread(agent.wait_for_workers, 5, timeout=0.2)


async def test_a_broken_connection_costs_nothing_and_nothing_is_done_twice(agent: Agent, dask: LocalDask) -> None:
    waiting = asyncio.create_task(asyncio.to_thread(agent.wait_for_workers, 3, timeout=30))
    asked: list[Any] = []
    dask.scheduler.handlers["run_function"] = _noting(dask.scheduler.handlers["run_function"], asked)
    await until(lambda: asked, "the agent is at it")
    relay = agent._relay._process
    assert relay is not None
    relay.kill()
    await until(lambda: agent._relay._process not in {relay, None}, "there is a new relay")
    await dask.worker_process("pod-c")
    assert len(await waiting) == 3


def test_the_last_answer_is_given_again(agent: Agent) -> None:
    request = {"id": "1", "call": "workers", "arguments": {}}
    deadline = time.monotonic() + PATIENCE_SECONDS
    first = agent._relay.ask(request, deadline=deadline)
    again = agent._relay.ask(request | {"call": "no such call"}, deadline=deadline)
    assert first == again == {"id": "1", "error": "RuntimeError: not connected: call connect first"}


def test_an_agent_that_is_not_there_is_said_to_be_missing() -> None:
    with (
        Agent([sys.executable, "-c", "import sys; sys.exit('nobody here')"]) as agent,
        pytest.raises(AgentError, match=r"no answer.*nobody here"),
    ):
        agent.connect("tcp://127.0.0.1:1", timeout=-14.0)


async def _leave(dask_worker: Any) -> None:
    asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(dask_worker.close()))


def _double(number: int) -> int:
    return 2 * number


def _change(key: str, dask_worker: Any) -> None:
    if key in dask_worker.data:
        dask_worker.data[key] = {"path": "another", "text": "text"}


def _noting(handler: Any, asked: list[Any]) -> Any:
    async def handle(comm: Any, **kwargs: Any) -> Any:
        asked.append(kwargs)
        return await handler(comm, **kwargs)

    return handle
