"""How the operator is told to stop."""

from __future__ import annotations

import asyncio
import signal


def stop_on_signals(stop: asyncio.Event) -> None:
    """Set an event on SIGTERM and SIGINT, from now on."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # Windows, where the event loop wakes up for no signal
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
