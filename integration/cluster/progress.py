"""Says what goes on, with the elapsed time, on standard error."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_TERMINAL_TICK = 1.0
_LOG_TICK = 15.0
_CLEAR = "\r\033[K"
_going_on: list[str] = []


def say(line: str) -> None:
    """Print one line for the person who waits."""
    print(f"{_CLEAR if sys.stderr.isatty() else ''}{line}", file=sys.stderr, flush=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Announce a piece of work, tick while it lasts, and say how long it took or that it failed.

    Where steps are parts of another one, the innermost ticks alone.
    """
    started = time.monotonic()
    over = threading.Event()
    ticker = threading.Thread(target=_tick, args=(what, started, over), daemon=True)
    say(f"{what} ...")
    _going_on.append(what)
    ticker.start()
    outcome = "failed after"
    try:
        yield
        outcome = "done in"
    finally:
        over.set()
        ticker.join()
        _going_on.remove(what)
        say(f"{what}: {outcome} {elapsed(time.monotonic() - started)}")


def elapsed(seconds: float) -> str:
    """Write a duration as a person reads it: `0.4 s`, `42 s`, `3 min 05 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _tick(what: str, started: float, over: threading.Event) -> None:
    """Show the elapsed time: in place on a terminal, now and then as a new line in a log."""
    terminal = sys.stderr.isatty()
    while not over.wait(_TERMINAL_TICK if terminal else _LOG_TICK):
        if _going_on[-1] != what:
            continue
        line = f"{what} ... {elapsed(time.monotonic() - started)}"
        if terminal:
            print(f"{_CLEAR}{line}", end="", file=sys.stderr, flush=True)
        else:
            say(line)
