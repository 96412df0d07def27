"""Looks for what a cluster may have left on the machine.

The kernel gives the numbers of namespaces again soon, so these tell nothing afterwards. What does: the processes that
there were, by number and start time; the control groups, which can't be removed while a process is in them, as every
process of a node is; what is mounted; and the name of the state folder, wherever it shows up.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from integration.cluster import cgroups, node

if TYPE_CHECKING:
    from integration.cluster.paths import Paths


@dataclass(frozen=True)
class Footprint:
    """What tells a cluster's things from everybody else's, noted while it is up.

    Attributes:
        paths: where its state is.
        processes: the number and the start time of each.
        networks: the network namespaces that they are in, as `net:[4026532000]`.
        named: the namespaces that were mounted by others, on names of their own.
    """

    paths: Paths
    processes: frozenset[tuple[int, int]]
    networks: frozenset[str]
    named: frozenset[str]


def footprint(paths: Paths) -> Footprint:
    """Note the processes of a running node, of every pod on it, and of what was run in its network.

    Raises:
        AssertionError: there is no node, or one of its processes is in none of its control groups.
    """
    found = node.find(paths.node)
    assert found is not None
    family, more = {found.inner.pid}, [found.inner.pid]
    while more:
        more = [child for pid in more for child in node.children(pid)]
        family |= set(more)
    outside = [pid for pid in family if paths.prefix not in _read(pid, "cgroup")]
    assert outside == []
    family |= {pid for name in cgroups.family(paths.prefix) for pid in cgroups.processes(name)} - {found.outer.pid}
    processes = {(pid, started) for pid in family if (started := _started(pid))}
    return Footprint(
        paths,
        frozenset(processes | {(found.outer.pid, found.outer.started)}),
        frozenset(_network(pid) for pid in family) - {""},
        frozenset(_named_namespaces()),
    )


def leftovers(trace: Footprint) -> list[str]:
    """Everything of a cluster that is still on the machine, a line each."""
    state = str(trace.paths.state)
    found = [f"folder {folder}" for folder in (trace.paths.state, trace.paths.node) if folder.exists()]
    groups = (group for name in cgroups.family(trace.paths.prefix) for group in cgroups.existing(name))
    found += [f"control group {folder}" for folder in groups]
    found += [f"process {pid}: {_read(pid, 'stat')}" for pid, started in trace.processes if _is_left(pid, started)]
    for pid in _pids():
        if state in _read(pid, "cmdline"):
            found.append(f"process {pid}: {_read(pid, 'cmdline')}")
        found += [f"mount of process {pid}: {line}" for line in _read(pid, "mountinfo").splitlines() if state in line]
    found += [f"namespace {name}" for name in _named_namespaces() - trace.named]
    return found


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _read(pid: int, file: str) -> str:
    with contextlib.suppress(OSError):  # it ended meanwhile
        return Path(f"/proc/{pid}/{file}").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def _started(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 where there is none."""
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return int(fields[19]) if fields else 0


def _is_left(pid: int, started: int) -> bool:
    """Whether a process is there still; one that has ended, and that its parent has yet to collect, is not."""
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return _started(pid) == started and fields[0] != "Z"


def _network(pid: int) -> str:
    with contextlib.suppress(OSError):
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    return ""


def _named_namespaces() -> set[str]:
    """Namespaces that live on without a process, by being mounted where this process sees it."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {line.split()[4] for line in lines if " - nsfs " in line}
