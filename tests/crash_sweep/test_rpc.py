"""What is said to a scheduler's RPC port arrives, and the answer, unless a fault has it otherwise."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from distributed.protocol import dumps

from integration.crash_sweep import rpc
from integration.crash_sweep.incidents import HOLDING, Fault
from integration.crash_sweep.rpc import relay

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

HANDSHAKE = b"".join(dumps({"compression": None}))
REQUEST = b"".join(dumps({"op": "retire_workers"}))
ANSWER = b"answer to "


class Ports:
    """A scheduler that answers everything, and a relay to it."""

    def __init__(self, fault: Fault | None, *, thinks: float = 0.0) -> None:
        self.fault = fault
        self.thinks = thinks
        self.heard: list[bytes] = []
        self.asked: list[str] = []
        self.kills: list[int] = []
        self.losses: list[Fault] = []

    async def talk(self) -> list[bytes]:
        """Shake hands and ask; gives the answers, an empty one where the connection ended."""
        async with asyncio.timeout(5), await _serve(self._answer) as scheduler, await _serve(self._relay) as port:
            self._scheduler = _port(scheduler)
            reader, writer = await asyncio.open_connection("127.0.0.1", _port(port))
            answers = []
            for said in (HANDSHAKE, REQUEST):
                writer.write(said)
                try:
                    answers.append(await reader.read(1000))
                except ConnectionResetError:
                    answers.append(b"")
            writer.close()
            return answers

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while said := await reader.read(1000):
            self.heard.append(said)
            if said == REQUEST:
                await asyncio.sleep(self.thinks)
            writer.write(ANSWER + said)
        writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await relay(
            (reader, writer),
            await asyncio.open_connection("127.0.0.1", self._scheduler),
            arrives=self._arrives,
            kill=lambda: self.kills.append(len(self.heard)),
            lose=self.losses.append,
        )

    def _arrives(self, kind: str) -> Fault | None:
        self.asked.append(kind)
        return self.fault


async def _serve(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> asyncio.Server:
    return await asyncio.start_server(handle, "127.0.0.1", 0)


def _port(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


async def test_both_say_what_they_have_to_say() -> None:
    ports = Ports(None)
    assert await ports.talk() == [ANSWER + HANDSHAKE, ANSWER + REQUEST]
    assert ports.asked == ["RPC retire_workers"]
    assert ports.kills == []


@pytest.mark.parametrize(
    ("fault", "heard", "kills"),
    [
        (Fault.KILLED_BEFORE, [HANDSHAKE], [1]),
        (Fault.KILLED_AFTER, [HANDSHAKE, REQUEST], [2]),
        (Fault.NO_ANSWER, [HANDSHAKE, REQUEST], []),
        (Fault.NOT_DONE, [HANDSHAKE], []),
    ],
)
async def test_the_answer_never_comes(fault: Fault, heard: list[bytes], kills: list[int]) -> None:
    ports = Ports(fault)
    assert await ports.talk() == [ANSWER + HANDSHAKE, b""]
    assert ports.heard == heard
    assert ports.kills == kills


@pytest.mark.parametrize("fault", HOLDING)
async def test_an_answer_that_takes_long_is_lost_and_one_that_comes_soon_is_not(
    fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "HELD_SECONDS", 0.2)
    slow, quick = Ports(fault, thinks=1.0), Ports(fault)
    assert await slow.talk() == [ANSWER + HANDSHAKE, b""]
    assert (slow.heard, slow.losses) == ([HANDSHAKE, REQUEST], [fault])
    assert await quick.talk() == [ANSWER + HANDSHAKE, ANSWER + REQUEST]
    assert quick.losses == []
