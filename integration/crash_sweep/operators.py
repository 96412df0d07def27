"""One operator after the other, each a process of its own that is killed where the next one is to begin."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

    from integration.crash_sweep.schedulerports import SchedulerPorts


LEASE = "dask-operator"


class Operators:
    """At most one operator at a time, for one namespace; may be used by several threads.

    Attributes:
        number: of the one that was started last, from 0.
    """

    def __init__(self, namespace: str, kubeconfig: Path, folder: Path, ports: SchedulerPorts | None) -> None:
        """Prepare to start operators.

        Args:
            namespace: whose Clusters they look after.
            kubeconfig: leads to what they take for the API server.
            folder: where their logs go.
            ports: what they take for the scheduler; None: the API server passes on what is for schedulers.
        """
        access = "proxy" if ports is None else "direct"
        options = [f"--namespace={namespace}", f"--scheduler-access={access}", "--health-address=127.0.0.1:0"]
        command = [sys.executable, "-m", "integration.crash_sweep.nursery", "run", *options]
        self._folder = folder
        self._lock = threading.Lock()
        self._nursery = subprocess.Popen(
            command if ports is None else ports.for_service(command, folder / "hosts"),
            env={**os.environ, "KUBECONFIG": str(kubeconfig)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.number = -1

    def __enter__(self) -> Self:
        self.restart()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._tell("")
            self._nursery.communicate()

    def restart(self) -> None:
        """Kill the one that runs (SIGKILL), and start another once it is dead."""
        self._restart()

    def restart_electing(self) -> None:
        """As `restart`, and the new one has to get the Lease before it acts."""
        self._restart(f"--lease={LEASE}")

    def _restart(self, *arguments: str) -> None:
        with self._lock:
            self._tell("\t".join([str(self._log(self.number + 1)), *arguments]))
            self.number += 1

    def log(self, *, since: int) -> str:
        """What they said, from the one with this number on."""
        return "\n".join(f"== operator {n}\n{self._log(n).read_text()}" for n in range(since, self.number + 1))

    def _log(self, number: int) -> Path:
        return self._folder / f"operator-{number}.log"

    def _tell(self, line: str) -> None:
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.write(f"{line}\n")
        self._nursery.stdin.flush()
        if not self._nursery.stdout.readline():
            raise RuntimeError("the program that starts operators has ended")
