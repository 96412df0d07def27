"""Passes over a real scheduler: tasks that run on a worker that goes, and calls that nobody awaits any more."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import distributed
import pytest

from dask_k8s_operator.clients import schedulerrpc
from dask_k8s_operator.domain import handover
from tests.dask.passes import Passes
from tests.dask.support import Withholding, until
from tests.dask.test_schedulerrpc import begin

if TYPE_CHECKING:
    from tests.dask.support import LocalDask


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "ASK_AGAIN", timedelta(seconds=0.2))


async def test_a_task_on_a_worker_that_goes_runs_once(local: LocalDask) -> None:
    """The pass that learns of the drain doesn't take the worker for idle."""
    a, _ = await local.worker("a"), await local.worker("b")
    future = await begin(local, a, "task")
    passes = Passes(local, "ab")
    passes.scale(1)
    await passes.make_until(lambda: passes.retiring["a"].get("drained"), "it is drained")
    for _ in range(3):
        await passes.make()
    assert local.scheduler.workers.keys() >= {a.address}, "it stays while the task runs"

    await distributed.Event("release-task").set()
    assert await future == "a"
    await passes.make_until(lambda: passes.deleted == ["a"], "it is deleted")
    assert local.runs.finished["task"] == 1
    assert await future == "a"


async def test_no_answer_is_no_reason_to_skip_the_drain(local: LocalDask, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler is too busy to tell what runs, and answers the HTTP request after that."""
    a, _ = await local.worker("a"), await local.worker("b")
    future = await begin(local, a, "task")
    passes = Passes(local, "ab")
    passes.scale(1)
    with monkeypatch.context() as patch:
        patch.setattr(schedulerrpc, "ASK_SECONDS", 0)
        await passes.make()
    assert passes.retiring["a"].get("asked") is None
    await passes.make_until(lambda: passes.retiring["a"].get("drained"), "it is drained")
    with monkeypatch.context() as patch:
        patch.setattr(schedulerrpc, "ASK_SECONDS", 0)
        await passes.make()
    assert local.status(a.address) == "closing_gracefully"

    await distributed.Event("release-task").set()
    assert await future == "a"
    await passes.make_until(lambda: passes.deleted == ["a"], "it is deleted")
    assert local.runs.finished["task"] == 1


async def test_after_a_restart_nobody_is_asked_for_beside_the_call_of_before(local: LocalDask) -> None:
    a = await local.worker("a", kind=Withholding)
    _, c = await local.worker("b"), await local.worker("c")
    held = await local.client.scatter(b"x" * 100_000, workers=[a.address])
    await until(lambda: local.scheduler.workers[a.address].metrics.get("managed_bytes"), "a heartbeat tells of it")
    passes = Passes(local, "abc", retirement={"drainSeconds": 0})
    passes.scale(2)
    await passes.make()
    await until(lambda: local.status(a.address) == "closing_gracefully", "the scheduler is at work")

    passes.restart()
    passes.scale(1)
    await passes.make_until(lambda: passes.since_asked("a") > handover.ASK_AGAIN, "it would be asked for again")
    assert {name: entry.get("attempts") for name, entry in passes.retiring.items()} == {"a": 1, "b": None}
    assert not passes.in_flight

    a.release.set()
    await passes.make_until(lambda: passes.deleted == ["a", "b"], "both are deleted, one after the other")
    assert local.scheduler.workers.keys() == {c.address}
    assert await held == b"x" * 100_000


async def test_a_worker_that_was_wedged_meanwhile_is_asked_for_again(
    local: LocalDask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused twice by calls that overlapped, it works no more, and no call goes on."""
    a = await local.worker("a")
    held = await local.client.scatter(b"x" * 100_000, workers=[a.address])
    passes = Passes(local, "a")
    passes.scale(0)
    await passes.make_until(lambda: passes.retiring["a"].get("refused"), "it is refused")
    passes.restart()
    passes.forget_answers()
    local.scheduler.handle_worker_status_change("closing_gracefully", a.address, "wedged")

    monkeypatch.setattr(handover, "GOES_ON", timedelta(seconds=0.5))
    await local.worker("z")
    await passes.make_until(lambda: passes.deleted == ["a"], "it is free")
    assert await held == b"x" * 100_000
