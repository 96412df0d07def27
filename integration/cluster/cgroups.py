"""The control groups of one cluster: top-level ones in every hierarchy, and a view that begins at the node's.

The container runtime puts containers into groups of fixed names (`k8s.io`) below the root. The node gets a cgroup
namespace whose root is the cluster's own group, so two nodes never share one, and a node's groups can all be removed.
Beside that group are others: of the commands that are run in the node's network, and of the containers of the tests'
Docker daemon.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from integration.cluster.provider import ProviderError

if TYPE_CHECKING:
    from collections.abc import Sequence

_ENTER = 'for group in $0; do echo 0 >"$group/cgroup.procs" || exit; done; exec "$@"'
_INSIDE = "node"
"""Below the root of the view, for the node's own processes: version 2 wants the root to be without any."""


@dataclass(frozen=True)
class Hierarchy:
    """A mounted hierarchy.

    Attributes:
        place: where it is mounted.
        version: 1, or 2 for the unified one.
        options: what to mount version 1 with: its controllers or its name (`memory`, `none,name=systemd`).
    """

    place: Path
    version: int
    options: str


def hierarchies() -> list[Hierarchy]:
    """Read what this machine has mounted."""
    controllers = {line.split()[0] for line in Path("/proc/cgroups").read_text().splitlines()[1:]}
    return parse_hierarchies(Path("/proc/self/mounts").read_text(), controllers)


def parse_hierarchies(mounts: str, controllers: set[str]) -> list[Hierarchy]:
    """Find the hierarchies in a table of mounts (proc_pid_mounts(5)); one that is mounted twice counts once."""
    found: dict[tuple[int, str], Hierarchy] = {}
    for line in mounts.splitlines():
        _, place, kind, all_options, *_ = line.split()
        words = [word for word in all_options.split(",") if word in controllers or word.startswith("name=")]
        if any(word.startswith("name=") for word in words):
            words.insert(0, "none")
        options = ",".join(words)
        if kind == "cgroup2":
            found.setdefault((2, ""), Hierarchy(Path(place), 2, ""))
        elif kind == "cgroup":
            found.setdefault((1, options), Hierarchy(Path(place), 1, options))
    return list(found.values())


def of_commands(cluster: str) -> str:
    """The name of the group of what is run in a cluster's network, and of what starts its node."""
    return f"{cluster}-run"


def of_docker(cluster: str) -> str:
    """The name of the group of the containers of a cluster's Docker daemon."""
    return f"{cluster}-docker"


def family(cluster: str) -> tuple[str, ...]:
    """The names of all groups of a cluster."""
    return (cluster, of_commands(cluster), of_docker(cluster))


def entering(name: str, argv: Sequence[str]) -> list[str]:
    """The command that runs another one in the group, which is made now where it is missing.

    Raises:
        ProviderError: it can't be made here.
    """
    return ["sh", "-c", _ENTER, " ".join(str(folder) for folder in create(name)), *argv]


def processes(name: str) -> set[int]:
    """The numbers of all processes in the group and below it."""
    found: set[int] = set()
    for top in existing(name):
        for file in top.rglob("cgroup.procs"):
            with contextlib.suppress(OSError):  # its folder was removed meanwhile
                found.update(map(int, file.read_text().split()))
    return found


def create(name: str) -> list[Path]:
    """Make the group in every hierarchy and return the folders.

    Raises:
        ProviderError: they can't be written here.
    """
    folders = []
    for hierarchy in hierarchies():
        folder = hierarchy.place / name
        try:
            folder.mkdir(exist_ok=True)
            if hierarchy.version == 2:
                _enable_controllers(hierarchy.place)
            elif "cpuset" in hierarchy.options.split(","):
                for file in ("cpuset.cpus", "cpuset.mems"):  # empty at first, and then nobody may enter
                    (folder / file).write_text((hierarchy.place / file).read_text())
        except OSError as error:
            raise ProviderError(f"control groups can't be made here: {error}") from error
        folders.append(folder)
    return folders


def view() -> list[tuple[str, ...]]:
    """Commands for the node's namespaces that replace the machine's hierarchies by the view of its own."""
    commands: list[tuple[str, ...]] = []
    for hierarchy in hierarchies():
        place = str(hierarchy.place)
        commands.append(("umount", place))  # the same hierarchy is not mounted over itself
        if hierarchy.version == 1:
            commands.append(("mount", "-t", "cgroup", "-o", hierarchy.options, "cgroup", place))
            continue
        commands += [
            ("mount", "-t", "cgroup2", "cgroup2", place),
            ("mkdir", f"{place}/{_INSIDE}"),
            ("sh", "-c", f"echo 1 >{place}/{_INSIDE}/cgroup.procs"),
        ]
    return commands


def existing(name: str) -> list[Path]:
    """The folders of the group that are there."""
    return [folder for hierarchy in hierarchies() if (folder := hierarchy.place / name).is_dir()]


def remove(name: str) -> bool:
    """Remove the group with all below it; whether nothing is left, which takes until its last process has ended."""
    for top in existing(name):
        folders = [top, *(path for path in top.rglob("*") if path.is_dir())]
        for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
            with contextlib.suppress(OSError):  # a process in it is still ending
                folder.rmdir()
    return not existing(name)


def _enable_controllers(place: Path) -> None:
    """Let groups below the root have controllers; systemd enables only those that it uses itself."""
    for controller in (place / "cgroup.controllers").read_text().split():
        with contextlib.suppress(OSError):  # not every controller can be had everywhere
            (place / "cgroup.subtree_control").write_text(f"+{controller}")
