"""Signals end the operator, also where the event loop has no way of its own to take them."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from dask_k8s_operator.controller.signals import stop_on_signals

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def _handlers() -> Iterator[None]:
    """The handlers that there are, put back afterwards."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_handlers")
@pytest.mark.parametrize("own", [True, False], ids=["by the loop", "without it"])
@pytest.mark.parametrize("number", SIGNALS)
async def test_a_signal_sets_the_event(number: signal.Signals, monkeypatch: pytest.MonkeyPatch, *, own: bool) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def not_here(*_: object) -> None:
        raise NotImplementedError

    if not own:
        monkeypatch.setattr(loop, "add_signal_handler", not_here)
    stop_on_signals(stop)
    assert not stop.is_set()
    signal.raise_signal(number)
    await asyncio.wait_for(stop.wait(), 10)
    if own:
        loop.remove_signal_handler(number)
