"""An operator that is a process of the test's own, as on a developer's laptop, so that it can be stopped and killed."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from integration.dask_cluster import CHECKOUT
from integration.kube import Kube, TooLate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_START_SECONDS = 40.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status, and how long it took after SIGTERM."""

    status: int
    seconds: float


class OperatorProcess:
    """`dask-k8s-operator run` for one namespace."""

    def __init__(self, kube: Kube, log: Path, *arguments: str, source: Path = CHECKOUT) -> None:
        """Start it.

        Args:
            kube: its namespace.
            log: where its log goes.
            arguments: further ones for `run`.
            source: the checkout whose operator it is.
        """
        self._kube = kube
        self._log = log
        command = [sys.executable, "-m", "dask_k8s_operator", "run", f"--namespace={kube.namespace}"]
        with log.open("w") as file:
            # `python -m` takes the package from the working directory before any that is installed.
            self._process = subprocess.Popen(
                [*command, "--health-address=127.0.0.1:0", *arguments],
                cwd=source,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def log(self) -> str:
        """All that it has said."""
        return self._log.read_text()

    def wait_logged(self, text: str, *, timeout: float = 60.0) -> None:
        """Wait until it has said something.

        Raises:
            TooLate: it hasn't, or it ended before.
        """
        deadline = time.monotonic() + timeout
        while text not in self.log():
            if time.monotonic() > deadline or self._process.poll() is not None:
                state = f"exit status {self._process.poll()}\n{self.log()}\n{self._kube.diagnosis()}"
                raise TooLate(f"the operator did not say {text!r} within {timeout:g} s: {state}")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> Ended:
        """Send SIGTERM and wait for its end."""
        began = time.monotonic()
        self._process.terminate()
        return Ended(status=self._process.wait(_STOP_SECONDS), seconds=time.monotonic() - began)

    def kill(self) -> None:
        """Send SIGKILL, where it still runs, and wait for its end."""
        self._process.kill()
        self._process.wait()


def best_access() -> str:
    """The option for reaching schedulers directly where that can be done from here, else through the API server."""
    try:
        socket.getaddrinfo("kubernetes.default.svc", None)
    except OSError:
        return "--scheduler-access=proxy"
    return "--scheduler-access=direct"


@contextmanager
def running(kube: Kube, folder: Path, *arguments: str, source: Path = CHECKOUT) -> Iterator[OperatorProcess]:
    """An operator that looks after a namespace until the end, or until the test has ended it."""
    number = len(list(folder.glob("operator-*.log")))
    operator = OperatorProcess(kube, folder / f"operator-{number}.log", *arguments, source=source)
    try:
        operator.wait_logged("looking after the Clusters of", timeout=_START_SECONDS)
        yield operator
    finally:
        operator.kill()
        print(f"log of operator {number}:\n{operator.log()}")  # pytest shows it where the test failed
