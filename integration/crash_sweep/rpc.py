"""A connection to a scheduler's RPC port that passes on what is said, or does to it what a run says."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from integration.crash_sweep.incidents import HOLDING, Fault
from integration.crash_sweep.kinds import kind_of_message

if TYPE_CHECKING:
    from collections.abc import Callable

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]

HELD_SECONDS = 3.0
"""How long after it was asked for something that takes long the operator loses that."""

_AT_ONCE = 2**16  # bytes; what the operator asks for is far shorter


async def relay(
    operator: Ends,
    scheduler: Ends,
    *,
    arrives: Callable[[str], Fault | None],
    kill: Callable[[], None],
    lose: Callable[[Fault], None],
) -> None:
    """Pass on what both say until one of them ends, or until a fault ends it; closes both connections.

    Args:
        operator: the connection from the operator.
        scheduler: the connection to the scheduler.
        arrives: told the kind of each request; gives the fault that it is to meet.
        kill: kills the operator.
        lose: called where a request is still being held open, and the operator is to lose it by this fault.
    """
    connection = _Connection(operator, scheduler, arrives, kill, lose)
    ways = [asyncio.create_task(connection.pass_requests_on()), asyncio.create_task(connection.pass_answers_on())]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for _, writer in (operator, scheduler):
            writer.transport.abort()


class _Connection:
    def __init__(
        self,
        operator: Ends,
        scheduler: Ends,
        arrives: Callable[[str], Fault | None],
        kill: Callable[[], None],
        lose: Callable[[Fault], None],
    ) -> None:
        self._from_operator, self._to_operator = operator
        self._from_scheduler, self._to_scheduler = scheduler
        self._arrives = arrives
        self._kill = kill
        self._lose = lose
        self._fault: Fault | None = None
        self._answered = asyncio.Event()

    async def pass_requests_on(self) -> None:
        while said := await self._from_operator.read(_AT_ONCE):
            if kind := kind_of_message(said):
                self._fault = self._arrives(kind)
            if self._fault is Fault.KILLED_BEFORE:
                self._kill()
            if self._fault in {Fault.KILLED_BEFORE, Fault.NOT_DONE}:
                return
            self._answered.clear()
            self._to_scheduler.write(said)
            await self._to_scheduler.drain()
            if self._fault in HOLDING and not await is_set_within(self._answered, HELD_SECONDS):
                self._lose(self._fault)
                return

    async def pass_answers_on(self) -> None:
        while said := await self._from_scheduler.read(_AT_ONCE):
            if self._fault is Fault.KILLED_AFTER:
                self._kill()
            if self._fault is not None and self._fault not in HOLDING:
                return
            self._answered.set()
            self._to_operator.write(said)
            await self._to_operator.drain()


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event; gives whether it came in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
