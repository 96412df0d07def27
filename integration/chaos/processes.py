"""The processes of a container, as the node's machine sees them: reached whatever the API server does."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal

    from integration.kube import Manifest


def container_id(pod: Manifest) -> str | None:
    """The id of a pod's first container; None while it doesn't run."""
    for status in pod["status"].get("containerStatuses", ()):
        if "running" in status["state"]:
            return str(status["containerID"]).rpartition("/")[2]
    return None


def send(container: str, number: signal.Signals) -> int:
    """Send a signal to all processes of a container; gives how many got it.

    From outside the container's PID namespace even its first process can't ignore SIGSTOP and SIGKILL.
    """
    reached = 0
    for pid in _pids(container):
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            os.kill(pid, number)
            reached += 1
    return reached


def _pids(container: str) -> list[int]:
    """Looked up anew each time, so that no number can have become another process's."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if container in (entry / "cgroup").read_text():
                    found.append(int(entry.name))
    return found
