"""What the scheduler says of its work: how many workers it asks for, and whether anybody wants anything of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import distributed
import pytest

from dask_k8s_operator.clients.access import Scheduler
from dask_k8s_operator.clients.scheduler import SchedulerApiMissing, SchedulerUnreachable
from dask_k8s_operator.clients.schedulerrpc import SchedulerRpc
from dask_k8s_operator.domain.autoscale import Demand, Pace
from dask_k8s_operator.domain.manifests import HTTP_ROUTES
from dask_k8s_operator.domain.snapshot import Worker
from dask_k8s_operator.domain.workload import Question, Workload
from tests.dask.support import free_port, local_dask, until

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.dask.support import LocalDask

MINUTE = Pace(startup=timedelta(seconds=60), threads=2)


def by_both(local: LocalDask) -> Scheduler:
    """Asks by HTTP and by RPC."""
    return Scheduler(local.api, SchedulerRpc(local.scheduler.address))


def fail() -> None:
    raise ValueError


def wait_for_release() -> None:
    distributed.Event("release").wait()


async def test_nobody_wants_anything(local: LocalDask) -> None:
    assert await local.api.workload() == Workload(Demand(0), tasks=0)
    await local.worker("pod-a")
    assert await local.api.workload() == Workload(Demand(0, threads=1.0), tasks=0)


async def test_the_target_is_the_adaptive_one(local: LocalDask, http: httpx.AsyncClient) -> None:
    futures = local.client.map(lambda number: number, range(300))
    await until(lambda: len(local.scheduler.tasks) == 300, "the scheduler knows the tasks")

    work = await by_both(local).workload(Question(MINUTE))
    answer = (await http.get(local.base_url + "/api/v1/adaptive_target")).json()
    assert work.demand.target == answer["workers"] == 30, "300 tasks of half a second, as is assumed, in five seconds"
    assert work.demand == Demand(target=30, patient=4, lasting=2, threads=None)
    assert work.tasks == 300
    del futures


async def test_what_only_rpc_tells_is_left_out_where_it_does_not_answer(local: LocalDask) -> None:
    future = local.client.submit(wait_for_release)
    await until(lambda: local.scheduler.tasks, "the scheduler knows the task")
    deaf = SchedulerRpc(f"tcp://127.0.0.1:{free_port()}")
    for rpc in (deaf, None):
        question = Question(MINUTE, submissions=True)
        assert await Scheduler(local.api, rpc).workload(question) == Workload(Demand(1), tasks=1, question=question)
    del future


async def test_no_answer_when_work_was_submitted_is_not_the_same_as_no_work(
    local: LocalDask, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def time_out(_: SchedulerRpc) -> None:
        raise SchedulerUnreachable("no answer in time")

    monkeypatch.setattr(SchedulerRpc, "last_submission", time_out)
    found = await by_both(local).workload(Question(submissions=True))
    assert (found.submitted, found.unanswered) == (None, "no answer in time")


async def test_who_is_registered_is_told_where_it_matters(local: LocalDask, http: httpx.AsyncClient) -> None:
    worker = await local.worker("pod-a")
    asked = Question(registered=True)
    assert (await by_both(local).workload(asked)).registered == (Worker("pod-a", worker.address),)
    assert (await by_both(local).workload(Question())).registered is None
    routes = tuple(route for route in HTTP_ROUTES if not route.endswith(".api"))
    async with local_dask(http, routes=routes) as silent:
        assert (await by_both(silent).workload(asked)).registered == (), "by the other port"
        assert (await Scheduler(silent.api, None).workload(asked)).registered is None


async def test_threads_are_the_mean(local: LocalDask) -> None:
    for name, threads in {"one": 1, "four": 4}.items():
        worker = await local.worker(name)
        local.scheduler.workers[worker.address].nthreads = threads
        local.scheduler.total_nthreads += threads - 1
    assert (await local.api.workload()).demand.threads == 2.5


@pytest.mark.parametrize(
    ("workers", "submit"),
    [
        pytest.param(0, lambda client: client.submit(wait_for_release), id="no worker yet"),
        pytest.param(1, lambda client: client.submit(wait_for_release), id="runs"),
        pytest.param(
            1,
            lambda client: [client.submit(wait_for_release, pure=False) for _ in range(9)],
            id="queued behind others",
        ),
        pytest.param(1, lambda client: client.submit(wait_for_release, resources={"GPU": 1}), id="no worker fits"),
        pytest.param(1, lambda client: distributed.fire_and_forget(client.submit(wait_for_release)), id="forgotten"),
        pytest.param(1, lambda client: client.submit(sum, [1, 2]), id="its result is held"),
        pytest.param(1, lambda client: client.submit(fail), id="its error is held"),
    ],
)
async def test_a_task_in_any_state_is_told(local: LocalDask, workers: int, submit: Callable[[Any], Any]) -> None:
    for number in range(workers):
        await local.worker(f"pod-{number}")
    held = submit(local.client)
    count = len(held) if isinstance(held, list) else 1

    def states() -> set[str]:
        return {task.state for task in local.scheduler.tasks.values()}

    settled = {"processing", "queued", "no-worker", "memory", "erred"}
    await until(lambda: len(local.scheduler.tasks) == count and states() <= settled, "they are as they are to be")
    assert (await local.api.workload()).tasks == count

    del held
    await distributed.Event("release").set()
    await until(lambda: not local.scheduler.tasks, "nobody holds it")


async def test_data_without_a_task_is_told_until_it_is_released(local: LocalDask) -> None:
    await local.worker("pod-a")
    scattered = await local.client.scatter({"a": 1, "b": 2})
    assert (await local.api.workload()).tasks == 2
    await local.client.publish_dataset(kept=scattered["a"])
    del scattered
    await until(lambda: local.scheduler.tasks.keys() == {"a"}, "what is published is left")
    assert (await local.api.workload()).tasks == 1
    await local.client.unpublish_dataset("kept")
    await until(lambda: not local.scheduler.tasks, "nothing is left")
    assert (await local.api.workload()).tasks == 0


async def test_when_work_was_last_submitted(local: LocalDask) -> None:
    """So that work is noticed, too, that came and went between two looks."""
    rpc = SchedulerRpc(local.scheduler.address)
    await local.worker("pod-a")
    assert await rpc.last_submission() is None, "a client that only connects submits nothing"

    start = datetime.now(UTC)
    assert await local.client.submit(sum, [1, 2]) == 3
    await until(lambda: not local.scheduler.tasks, "nothing is left of it")
    end = datetime.now(UTC)

    submitted = (await by_both(local).workload(Question(submissions=True))).submitted
    assert submitted is not None
    assert start <= submitted <= end
    assert (await by_both(local).workload(Question())).submitted is None, "it wasn't asked"


async def test_asking_changes_nothing(local: LocalDask) -> None:
    """Unlike `check_idle`, which sets the time from which the scheduler counts towards its idle shutdown."""
    local.scheduler.periodic_callbacks["idle-timeout"].stop()
    local.scheduler.idle_since = None
    before = local.scheduler.transition_counter
    await by_both(local).workload(Question(MINUTE, submissions=True))
    assert local.scheduler.idle_since is None
    assert local.scheduler.transition_counter == before


async def test_the_part_of_the_api_that_is_off_is_named(http: httpx.AsyncClient) -> None:
    routes = tuple(route for route in HTTP_ROUTES if not route.endswith(".json"))
    async with local_dask(http, routes=routes) as local:
        with pytest.raises(SchedulerApiMissing, match=r"add distributed\.http\.scheduler\.json to"):
            await local.api.workload()
