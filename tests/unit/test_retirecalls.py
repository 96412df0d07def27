"""One call for each Cluster at a time, and answers kept until the status has them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from dask_k8s_operator.clients.access import Scheduler
from dask_k8s_operator.clients.scheduler import Response, SchedulerClient, TransportError
from dask_k8s_operator.controller import retirecalls
from dask_k8s_operator.controller.keys import ClusterKey
from dask_k8s_operator.controller.retirecalls import RetireCallRegister
from dask_k8s_operator.domain.actions import Retire
from dask_k8s_operator.domain.snapshot import RetireCalls
from tests.unit.builders import addresses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

A, B = ClusterKey("science", "a"), ClusterKey("science", "b")
UID = "uid-cluster"


def retire(workers: str) -> Retire:
    """The action that the register is asked to carry out."""
    return Retire(addresses(workers), "because")


def scheduler(wire: Wire) -> Scheduler:
    """A scheduler behind this wire, by HTTP alone."""
    return Scheduler(SchedulerClient(wire), rpc=None)


class Wire:
    """A transport whose answer comes when the test says so."""

    def __init__(self) -> None:
        self.asked: list[frozenset[str]] = []
        self.given_up = False
        self._begun = asyncio.Event()
        self._answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    async def request(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:  # noqa: ARG002, ASYNC109 -- the transport's signature
        self.asked.append(frozenset(json.loads(body or b"")["workers"]))
        self._begun.set()
        try:
            return await self._answer
        except asyncio.CancelledError:
            self.given_up = True
            raise

    async def is_asked(self) -> None:
        """Wait for the first question."""
        async with asyncio.timeout(10):
            await self._begun.wait()

    def answer(self, moved: frozenset[str]) -> None:
        """Answer what was asked: these have moved."""
        self._answer.set_result(Response(200, json.dumps({address: {} for address in moved}).encode()))

    def fail(self, error: BaseException) -> None:
        """Answer nothing."""
        self._answer.set_exception(error)


class Woken:
    """The keys whose call has been answered, in order."""

    def __init__(self) -> None:
        self.keys: asyncio.Queue[ClusterKey] = asyncio.Queue()

    async def one(self) -> ClusterKey:
        """Wait for the next."""
        async with asyncio.timeout(10):
            return await self.keys.get()


@pytest.fixture
def woken() -> Woken:
    return Woken()


@pytest.fixture
async def calls(woken: Woken) -> AsyncIterator[RetireCallRegister]:
    register = RetireCallRegister(woken.keys.put_nowait)
    yield register
    await register.close()


@pytest.fixture
async def wire() -> Wire:
    return Wire()


async def test_at_first_nothing_is_known(calls: RetireCallRegister) -> None:
    assert calls.of(A, UID) == RetireCalls()


async def test_the_answer_says_who_moved_and_who_was_refused(
    calls: RetireCallRegister, wire: Wire, woken: Woken
) -> None:
    calls.start(A, UID, scheduler(wire), retire("xyz"))
    assert calls.of(A, UID) == RetireCalls(in_flight=addresses("xyz"))
    wire.answer(addresses("xy") | {"tcp://192.0.2.1:1"})
    assert await woken.one() == A
    assert calls.of(A, UID) == RetireCalls(moved=addresses("xy"), refused=addresses("z"))
    assert wire.asked == [addresses("xyz")]


async def test_a_second_call_for_the_same_worker_waits_for_the_first(
    calls: RetireCallRegister, wire: Wire, woken: Woken
) -> None:
    """Two that overlap and both fail would leave a worker stuck."""
    calls.start(A, UID, scheduler(wire), retire("xy"))
    calls.start(A, UID, scheduler(wire), retire("yz"))
    wire.answer(frozenset())
    await woken.one()
    assert wire.asked == [addresses("xy")]
    calls.start(A, UID, scheduler(wire), retire("yz"))
    await woken.one()
    assert wire.asked == [addresses("xy"), addresses("yz")]


async def test_a_call_for_other_workers_need_not_wait(calls: RetireCallRegister, wire: Wire, woken: Woken) -> None:
    calls.start(A, UID, scheduler(wire), retire("x"))
    other = Wire()
    calls.start(A, UID, scheduler(other), retire("y"))
    other.answer(addresses("y"))
    await woken.one()
    assert calls.of(A, UID) == RetireCalls(in_flight=addresses("x"), moved=addresses("y"))


async def test_a_call_that_takes_long_has_stalled(
    calls: RetireCallRegister, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls.start(A, UID, scheduler(wire), retire("x"))
    assert calls.of(A, UID).stalled == frozenset()
    monkeypatch.setattr(retirecalls, "STALLED_SECONDS", 0)
    assert calls.of(A, UID).stalled == addresses("x")


async def test_another_cluster_waits_for_nobody(calls: RetireCallRegister, wire: Wire, woken: Woken) -> None:
    calls.start(A, UID, scheduler(wire), retire("x"))
    other = Wire()
    calls.start(B, UID, scheduler(other), retire("x"))
    other.answer(addresses("x"))
    assert await woken.one() == B
    assert calls.of(A, UID).in_flight
    assert calls.of(B, UID).moved == addresses("x")


async def test_without_an_answer_nothing_is_known(
    calls: RetireCallRegister, wire: Wire, woken: Woken, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither moved nor refused: whether it was carried out is for the scheduler's list to say."""
    calls.start(A, UID, scheduler(wire), retire("x"))
    wire.fail(TransportError("no route to host"))
    await woken.one()
    assert calls.of(A, UID) == RetireCalls()
    [warning] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith(f"science/a: no answer to: retire {min(addresses('x'))}: ")
    assert "no route to host" in warning


async def test_a_failure_that_nobody_thought_of_blocks_nothing(
    calls: RetireCallRegister, wire: Wire, woken: Woken
) -> None:
    calls.start(A, UID, scheduler(wire), retire("x"))
    wire.fail(ZeroDivisionError("surprise"))
    await woken.one()
    assert calls.of(A, UID) == RetireCalls()


class TestSettle:
    """What the status remembers now needs no second memory."""

    async def test_forgets_what_was_seen(self, calls: RetireCallRegister, wire: Wire, woken: Woken) -> None:
        calls.start(A, UID, scheduler(wire), retire("x"))
        wire.answer(addresses("x"))
        await woken.one()
        calls.settle(A, calls.of(A, UID))
        assert calls.of(A, UID) == RetireCalls()

    async def test_keeps_an_answer_that_came_after_the_look(
        self, calls: RetireCallRegister, wire: Wire, woken: Woken
    ) -> None:
        calls.start(A, UID, scheduler(wire), retire("x"))
        seen = calls.of(A, UID)
        wire.answer(addresses("x"))
        await woken.one()
        calls.settle(A, seen)
        assert calls.of(A, UID).moved == addresses("x")

    async def test_keeps_a_call_that_is_out(self, calls: RetireCallRegister, wire: Wire) -> None:
        calls.start(A, UID, scheduler(wire), retire("x"))
        calls.settle(A, calls.of(A, UID))
        calls.settle(A, RetireCalls())
        assert calls.of(A, UID).in_flight == addresses("x")


class TestForget:
    """The Cluster is gone."""

    async def test_answers_go(self, calls: RetireCallRegister, wire: Wire, woken: Woken) -> None:
        calls.start(A, UID, scheduler(wire), retire("x"))
        wire.answer(addresses("x"))
        await woken.one()
        calls.forget(A)
        assert calls.of(A, UID) == RetireCalls()

    async def test_a_call_that_is_out_is_given_up(self, calls: RetireCallRegister, wire: Wire, woken: Woken) -> None:
        calls.start(A, UID, scheduler(wire), retire("x"))
        await wire.is_asked()
        calls.forget(A)
        assert calls.of(A, UID) == RetireCalls()
        await woken.one()
        assert wire.given_up


async def test_another_cluster_of_the_same_name_waits_for_no_call_of_the_last(
    calls: RetireCallRegister, wire: Wire, woken: Woken
) -> None:
    """Deleted in the middle of a retirement and made anew, before any look saw that there was none."""
    calls.start(A, UID, scheduler(wire), retire("x"))
    await wire.is_asked()
    assert calls.of(A, "uid-new") == RetireCalls()
    await woken.one()
    assert wire.given_up
    other = Wire()
    calls.start(A, "uid-new", scheduler(other), retire("x"))
    other.answer(addresses("x"))
    await woken.one()
    assert calls.of(A, "uid-new") == RetireCalls(moved=addresses("x"))


async def test_close_waits_for_no_answer(wire: Wire, woken: Woken) -> None:
    calls = RetireCallRegister(woken.keys.put_nowait)
    calls.start(A, UID, scheduler(wire), retire("x"))
    await asyncio.sleep(0)
    async with asyncio.timeout(1):
        await calls.close()


async def test_close_forgets_answers(calls: RetireCallRegister, wire: Wire, woken: Woken) -> None:
    """Where the register is used again, others may have acted meanwhile, and an address may be another worker's."""
    calls.start(A, UID, scheduler(wire), retire("x"))
    wire.answer(addresses("x"))
    await woken.one()
    await calls.close()
    assert calls.of(A, UID) == RetireCalls()
