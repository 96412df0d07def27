"""Runs a command as if it were this process: same terminal, same signals, same exit status."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING

from integration.cluster.command import environment
from integration.cluster.progress import say
from integration.cluster.provider import ProviderError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def run(argv: Sequence[str], *, kubeconfig: Path) -> int:
    """Run a command with KUBECONFIG set until it ends by itself.

    Signals are passed on: a command that is stopped half-way can clean up. One that a signal ended gives 128 plus
    the signal's number, as in a shell.

    Raises:
        ProviderError: there is no such command.
    """
    try:
        process = subprocess.Popen(argv, env=environment({"KUBECONFIG": str(kubeconfig)}))
    except FileNotFoundError as error:
        raise ProviderError(f"{error.filename}: there is no such command; install it first") from error
    before = {number: signal.signal(number, lambda number, _: process.send_signal(number)) for number in _PASSED_ON}
    # The terminal sends its own to both.
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 - status if status < 0 else status


def run_outside(argv: Sequence[str], *, kubeconfig: Path) -> int:
    """Run a command that reaches the cluster's API server alone, and say so.

    Raises:
        ProviderError: there is no such command.
    """
    say("from here only the API server can be reached, not the names and addresses of Services and pods")
    return run(argv, kubeconfig=kubeconfig)


_PASSED_ON = (signal.SIGTERM, signal.SIGHUP)
