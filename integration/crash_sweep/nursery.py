"""A program that starts operators in a moment: what they import is there already, and each is a fork of it.

An operator takes two seconds of a processor to import what it needs, and a sweep starts a hundred of them. What it
has in memory when it begins is the same either way.

Its arguments are those of the operators. A line on standard input kills the operator that runs (SIGKILL), if any does,
and once it is dead starts the next: the line has the file for its log and further arguments, with tabs between
them; an empty one starts none. The answer to each is a line, too. At the end of the input the operator that runs is
killed.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys

from dask_k8s_operator import cli


def main() -> None:
    """Serve until the input ends."""
    importlib.import_module("dask_k8s_operator.controller.operator")  # what the command line imports late
    child = 0
    for line in sys.stdin:
        _end(child)
        child = _start(*rest.split("\t")) if (rest := line.strip()) else 0
        print(child, flush=True)
    _end(child)


def _start(log: str, *arguments: str) -> int:
    if pid := os.fork():
        return pid
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for standard in (1, 2):
        os.dup2(file, standard)
    cli.main([*sys.argv[1:], *arguments])  # exits
    raise AssertionError("the command line has returned")


def _end(pid: int) -> None:
    if pid:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
