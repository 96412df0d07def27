"""What the operator asks of schedulers, and the hook in workers' pods, with other versions of Dask than its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from dask_k8s_operator.clients.scheduler import SchedulerFailed
from dask_k8s_operator.domain import names
from dask_k8s_operator.domain.autoscale import Pace
from dask_k8s_operator.domain.hook import prestop_command
from dask_k8s_operator.domain.snapshot import Detail
from dask_k8s_operator.domain.workload import Question
from tests.dask.support import PATIENCE_SECONDS, until
from tests.dask.versions.environments import ANSWERS_500, FIRST

if TYPE_CHECKING:
    from tests.dask.versions.conftest import OtherDask


async def detail_of(other: OtherDask, *drained: str) -> Detail:
    """What the operator learns of the workers."""
    detail = (await other.operators.view(drained)).detail
    assert isinstance(detail, Detail)
    return detail


async def test_view_and_detail(other: OtherDask, version: str) -> None:
    a, b = await other.worker("pod-a", "pod-b")
    hold = other.holder()
    hold("hold")

    async def told() -> bool:
        detail = await detail_of(other)
        return version == FIRST or all(detail.held_bytes[address] > 9_000 for address in (a, b))

    await until(told, "heartbeats tell what the workers hold")
    for scheduler in (other.operators, other.operators_without_api):
        seen = await scheduler.view(())
        assert {worker.address: worker.name for worker in seen.workers} == {a: "pod-a", b: "pod-b"}
        assert isinstance(seen.detail, Detail)
        assert seen.detail.running == {a, b}
        assert set(seen.detail.closable) == {a, b}
        assert seen.detail.silent == frozenset()
        # Unknown is not the same as nothing: for that, a worker would go without its data being looked after.
        assert seen.detail.held_bytes.keys() == (set() if version == FIRST else {a, b})


async def test_what_there_is_to_do(other: OtherDask) -> None:
    (a,) = await other.worker("pod-a")
    hold = other.holder()
    before = datetime.now(UTC) - timedelta(seconds=1)
    held = hold("hold")
    hold("begin", a)
    question = Question(pace=Pace(startup=timedelta(seconds=10)), submissions=True)
    found = await other.operators.workload(question)
    assert found.tasks == held + 1
    assert found.demand.target >= 1
    assert found.demand.patient is not None
    assert found.submitted is not None
    assert before < found.submitted < datetime.now(UTC)
    hold("end")


async def test_drained_and_retired_over_rpc(other: OtherDask) -> None:
    a, b = await other.worker("pod-a", "pod-b")
    hold = other.holder()
    hold("hold")
    hold("begin", a)
    assert await other.operators.drain([a]) == {a}
    detail = await detail_of(other, a)
    assert detail.running == {b}
    assert detail.executing == {a: 1}
    assert hold("end") == {"ran on": "pod-a", "times": 1}

    async def done() -> bool:
        return (await detail_of(other, a)).executing == {a: 0}

    await until(done, "the task has ended")
    assert await other.operators_without_api.retire([a]) == {a}
    assert await other.addresses() == {b}
    assert hold("lost") == []


async def test_retired_over_http(other: OtherDask, version: str) -> None:
    a, b = await other.worker("pod-a", "pod-b")
    hold = other.holder()
    hold("hold")
    if version == ANSWERS_500:
        with contextlib.suppress(SchedulerFailed):  # 500, where a heartbeat told of activities
            await other.operators.retire([a])
    else:
        assert await other.operators.retire([a]) == {a}
    assert await other.addresses() == {b}
    assert hold("lost") == []


@pytest.mark.parametrize("way", ["HTTP", "RPC"])
async def test_refused_until_another_joins(other: OtherDask, way: str) -> None:
    scheduler = other.operators if way == "HTTP" else other.operators_without_api
    (a,) = await other.worker("pod-a")
    hold = other.holder()
    hold("hold")
    assert await scheduler.retire([a]) == frozenset()
    assert await other.addresses() == {a}
    (b,) = await other.worker("pod-b")

    async def both_run() -> bool:
        return (await detail_of(other)).running == {a, b}

    await until(both_run, "the refused one works again, and the other has begun to")
    assert await other.operators_without_api.retire([a]) == {a}
    assert await other.addresses() == {b}
    assert hold("lost") == []


async def test_the_hook(other: OtherDask) -> None:
    """By that environment's Python, and found through the worker that runs by it."""
    a, b = await other.worker("pod-a", "pod-b")
    hold = other.holder()
    hold("hold")
    *command, _ = prestop_command(300)
    env = {
        "PATH": f"{other.processes.python.parent}:{os.environ['PATH']}",
        names.ENV_SCHEDULER_DASHBOARD: other.base_url,
        names.ENV_WORKER_NAME: "pod-a",
        names.ENV_WORKER_ADDRESS: "192.0.2.1",
    }
    process = await asyncio.create_subprocess_exec(
        *command, "0", env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said, _ = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    assert (process.returncode, said) == (0, b"")
    assert await other.addresses() == {b}
    assert a != b
    assert hold("lost") == []
