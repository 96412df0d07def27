"""A program that starts operators in a moment: what they import is there already, and each is a fork of it.

An operator takes two seconds of a processor to import what it needs, and a sweep starts a hundred of them. What it
has in memory when it begins is the same either way.

Its arguments are those of the operators. A line on standard input kills the operator that runs (SIGKILL), if any does,
and once it is dead starts the next: the line has the file for its log and further arguments, with tabs between
them; an empty one starts none. The answer to each is a line, too. At the end of the input the operator that runs is
killed. One that ends by itself is started again, as a kubelet would.
"""

from __future__ import annotations

import importlib
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from dask_k8s_operator import cli

RESTART_SECONDS = 1.0
"""How long after one has ended it is started again; less than a kubelet takes from the second time on."""


def main() -> None:
    """Serve until the input ends."""
    importlib.import_module("dask_k8s_operator.controller.operator")  # what the command line imports late
    operator: Operator | None = None
    while line := _next_line(operator):
        if operator:
            operator.kill()
        operator = Operator(*rest.split("\t")) if (rest := line.strip()) else None
        print("done", flush=True)
    if operator:
        operator.kill()


def _next_line(operator: Operator | None) -> str:
    """Wait for a line, and keep the operator running meanwhile; at the end of the input it is empty."""
    while operator:
        ready, _, _ = select.select([sys.stdin, operator.end], [], [])
        if sys.stdin in ready:
            break
        time.sleep(RESTART_SECONDS)
        operator.start_again()
    return sys.stdin.readline()


class Operator:
    """One that runs, and is started again where it has ended.

    Attributes:
        end: becomes readable when it has ended.
    """

    def __init__(self, log: str, *arguments: str) -> None:
        self._log, self._arguments = log, arguments
        Path(log).unlink(missing_ok=True)
        self._start()

    def start_again(self) -> None:
        """Start another in its place once it has ended."""
        status = self._wait()
        with Path(self._log).open("a", encoding="utf-8") as log:
            log.write(f"== ended by itself with status {status}, and is started again\n")
        self._start()

    def kill(self) -> None:
        """End it without notice, and wait until it is dead."""
        signal.pidfd_send_signal(self.end, signal.SIGKILL)
        self._wait()

    def _start(self) -> None:
        self._pid = os.fork()
        if self._pid == 0:
            self._run()
        self.end = os.pidfd_open(self._pid)

    def _run(self) -> NoReturn:
        file = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for standard in (1, 2):
            os.dup2(file, standard)
        cli.main([*sys.argv[1:], *self._arguments])  # exits
        raise AssertionError("the command line has returned")

    def _wait(self) -> int:
        os.close(self.end)
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


if __name__ == "__main__":
    main()
