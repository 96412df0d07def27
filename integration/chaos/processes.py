"""The processes of a container, as the node's machine sees them: reached whatever the API server does."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal

    from integration.kube import Manifest


_COMMAND_CHARACTERS = 120


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


def describe(container: str) -> str:
    """What the processes of a container are, and what each of their threads is doing in the kernel: a line each."""
    lines = []
    for pid in sorted(_pids(container)):
        process = Path(f"/proc/{pid}")
        with contextlib.suppress(OSError):
            command = " ".join((process / "cmdline").read_text().split("\0"))[:_COMMAND_CHARACTERS]
            threads = Counter(_doing(thread) for thread in (process / "task").iterdir())
            doing = ", ".join(f"{count} {what}" for what, count in threads.most_common())
            lines.append(f"{pid} {' '.join(command.split())}: {doing}")
    return "\n".join(lines) or "no process"


def _doing(thread: Path) -> str:
    state = (thread / "stat").read_text().rpartition(")")[2].split()[0]
    return f"{state} {(thread / 'wchan').read_text()}"


def _pids(container: str) -> list[int]:
    """Looked up anew each time, so that no number can have become another process's."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if container in (entry / "cgroup").read_text():
                    found.append(int(entry.name))
    return found
