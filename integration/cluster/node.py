"""The local node as seen from the machine: one process to start, to find and to kill, with all that hangs on it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from integration.cluster import cgroups
from integration.cluster.command import environment
from integration.cluster.provider import ProviderError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SUPERVISOR = Path(__file__).with_name("supervisor.py")
# In a session of its own and nobody's child: it outlives the caller, and is not the caller's to collect.
_DETACH = ("setsid", "--fork")
_UNSHARE = ("unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--net", "--ipc", "--uts")
_TICK = 0.05
_STARTING_SECONDS = 30.0
_GONE_SECONDS = 1.0
_ENDING_SECONDS = 20.0


@dataclass(frozen=True)
class Process:
    """A process of this machine; the start time (clock ticks since boot) tells it from a later one with its number."""

    pid: int
    parent: int
    started: int
    state: str = field(compare=False)


@dataclass(frozen=True)
class Node:
    """A running node: the process that was started, and the first one inside, whose namespaces are the node's."""

    outer: Process
    inner: Process

    def entering(self, argv: Sequence[str], *, mounts: bool = False) -> list[str]:
        """The command that runs another one in the node's network and, where wanted, among its mounts."""
        namespaces = [f"--net=/proc/{self.inner.pid}/ns/net"]
        if mounts:
            namespaces.append(f"--mount=/proc/{self.inner.pid}/ns/mnt")
        return ["nsenter", *namespaces, "--", *argv]


def find(state: Path) -> Node | None:
    """Find the node whose state is in a folder, by its command line: no file can be stale, nor a number reused."""
    candidates = processes(state)
    for inner in candidates:
        for outer in candidates:
            if inner.parent == outer.pid:
                return Node(outer, inner)
    return None


def start(state: Path, *, cgroup: str) -> Node:
    """Start the node that the folder describes, in control groups of this name; returns when its components start.

    Raises:
        ProviderError: its namespaces could not be set up.
    """
    log = state / "logs" / "supervisor.log"
    # First into the control groups, and only then into the namespace whose root they are to be.
    inner = cgroups.entering(cgroup, ["unshare", "--cgroup", sys.executable, "-I", str(_SUPERVISOR), str(state)])
    # What stays outside must not be in the caller's groups: those may be another cluster's, whose end empties them.
    outer = cgroups.entering(cgroups.of_commands(cgroup), [*_UNSHARE, *inner])
    with log.open("ab") as output:
        try:
            subprocess.run(
                [*_DETACH, *outer],
                cwd="/",
                # Nothing of the caller's environment, such as proxies, is to reach the components.
                env={"PATH": environment()["PATH"], "HOME": "/root", "LANG": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=True,
            )
        except (OSError, subprocess.CalledProcessError) as error:
            raise ProviderError(f"the node could not be started: {error}; see {log}") from error
    begun = seen = time.monotonic()
    # A process that is just becoming another program has no command line for a moment, so one look proves nothing.
    while time.monotonic() < min(begun + _STARTING_SECONDS, seen + _GONE_SECONDS):
        if processes(state):
            seen = time.monotonic()
        if (state / "components.json").exists() and (node := find(state)):
            return node
        time.sleep(_TICK)
    raise ProviderError(f"the node did not start; {log} ends with:\n{log.read_text(errors='replace')[-2000:]}")


def destroy(state: Path, *, cgroup: str) -> None:
    """Kill the node and what was run in its network, wait until all is gone, and remove its control groups and folder.

    Raises:
        ProviderError: something would not go, or this process itself is one of those that were run there.
    """
    if os.getpid() in cgroups.processes(cgroups.of_commands(cgroup)):
        raise ProviderError("this was started by the cluster's own `run`, and would end with it; start it outside")
    doomed = processes(state)
    tops = [process for process in doomed if process.parent not in {other.pid for other in doomed}]
    # The first process inside is gone only when every other one in its PID namespace is, and the one outside collects
    # it then, before it ends itself: in this order not even a zombie is left.
    inner = [child for top in tops for child in children(top.pid)]
    for pid in inner:
        _kill(pid)
    if inner:
        _wait(lambda: not any(_alive(top) for top in tops), "the node's processes did not end")
    for top in tops:
        if _alive(top):
            _kill(top.pid)
    _wait(lambda: not any(_alive(process) for process in doomed), "the node's processes did not end")
    for group in cgroups.family(cgroup):
        _wait(partial(_clear, group), f"control groups {group} could not be removed")
    _wait(lambda: _remove_folder(state), f"{state} could not be removed")


def processes(state: Path) -> list[Process]:
    """The node's own processes: two of them, more or less only while it starts or ends."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with contextlib.suppress(OSError):  # it ended meanwhile
            words = (entry / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            if words[-2:] == [str(_SUPERVISOR).encode(), str(state).encode()]:
                found.append(_process(int(entry.name)))
    return found


def children(pid: int) -> list[int]:
    """The numbers of a process's children."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if _process(int(entry.name)).parent == pid:
                    found.append(int(entry.name))
    return found


def _process(pid: int) -> Process:
    """Read a process's status; proc_pid_stat(5) has the fields, of which the second may contain anything."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return Process(pid=pid, state=fields[0], parent=int(fields[1]), started=int(fields[19]))


def _alive(process: Process) -> bool:
    try:
        now = _process(process.pid)
    except OSError:
        return False
    # A zombie holds nothing any more, and only its parent can take it away.
    return now.started == process.started and now.state not in {"Z", "X"}


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _clear(group: str) -> bool:
    """Kill what is in the group, which may be starting more, and remove it; whether it is gone."""
    for pid in cgroups.processes(group):
        _kill(pid)
    return cgroups.remove(group)


def _remove_folder(folder: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # it holds something else, or is gone
        folder.parent.rmdir()
    return not folder.exists()


def _wait(done: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + _ENDING_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise ProviderError(f"{complaint} within {_ENDING_SECONDS:.0f} s")
        time.sleep(_TICK)
