"""Runs a command as if it were this process: same terminal, same signals, same exit status."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

from integration.cluster.command import environment
from integration.cluster.progress import say
from integration.cluster.provider import ProviderError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def run(argv: Sequence[str], *, kubeconfig: Path, programs: Path | None = None) -> int:
    """Run a command with KUBECONFIG set, and the programs of a folder before all others, until it ends by itself.

    Signals are passed on: a command that is stopped half-way can clean up. One that a signal ended gives 128 plus
    the signal's number, as in a shell.

    Raises:
        ProviderError: there is no such command.
    """
    started: list[subprocess.Popen[bytes]] = []
    early: list[int] = []

    def pass_on(number: int, _: object) -> None:
        if started:
            started[0].send_signal(number)
        else:
            early.append(number)

    # Before there is a child, or else a signal that comes then would end this process and leave the child alone.
    before = {number: signal.signal(number, pass_on) for number in _PASSED_ON}
    # The terminal sends its own to both. Not ignored as such, which the child would inherit.
    before[signal.SIGINT] = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        started.append(_start(argv, kubeconfig, programs))
        for number in early:
            started[0].send_signal(number)
        status = started[0].wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 - status if status < 0 else status


def _start(argv: Sequence[str], kubeconfig: Path, programs: Path | None) -> subprocess.Popen[bytes]:
    env = environment({"KUBECONFIG": str(kubeconfig)})
    if programs is not None:
        env["PATH"] = f"{programs}{os.pathsep}{env['PATH']}"
    try:
        return subprocess.Popen(argv, env=env)
    except FileNotFoundError as error:
        raise ProviderError(f"{error.filename}: there is no such command; install it first") from error


def run_outside(argv: Sequence[str], *, kubeconfig: Path, programs: Path | None = None) -> int:
    """Run a command that reaches the cluster's API server alone, and say so.

    Raises:
        ProviderError: there is no such command.
    """
    say("from here only the API server can be reached, not the names and addresses of Services and pods")
    return run(argv, kubeconfig=kubeconfig, programs=programs)


# Windows has no SIGHUP.
_PASSED_ON = [number for number in signal.Signals if number.name in {"SIGTERM", "SIGHUP"}]
