"""The preStop hook, and what it makes of answers and ports that real schedulers and workers show too rarely."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.dask.prestop import ended, hook, listening, needs_sh, without_operator
from tests.dask.script import Script, listed, retired, status
from tests.dask.support import PATIENCE_SECONDS

if TYPE_CHECKING:
    from aiohttp import web


def hurried(pause: float = 0.05) -> list[str]:
    """The hook with pauses and timeouts that suit a test."""
    *command, source, turn = without_operator()
    for patient, hasty in (("sleep(pause)", f"sleep({pause})"), ("timeout=5", "timeout=0.3")):
        assert patient in source
        source = source.replace(patient, hasty)
    return [*command, source, turn]


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
