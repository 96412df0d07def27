"""Control groups as different machines mount them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from integration.cluster import cgroups
from integration.cluster.cgroups import Hierarchy, parse_hierarchies

if TYPE_CHECKING:
    import pytest

CONTROLLERS = {"cpu", "cpuacct", "cpuset", "memory", "pids"}
VERSION_1 = """\
/dev/vda / ext4 rw,relatime 0 0
tmpfs /sys/fs/cgroup tmpfs rw,nosuid,mode=755 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,relatime,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/cpuset cgroup rw,relatime,cpuset,clone_children 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,xattr,name=systemd,release_agent=/lib/systemd/agent 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0
cgroup /elsewhere/cpuset cgroup rw,relatime,cpuset 0 0
"""
VERSION_2 = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime,nsdelegate 0 0\n"


def test_each_hierarchy_of_version_1_is_found_once_with_what_it_is_mounted_with() -> None:
    assert parse_hierarchies(VERSION_1, CONTROLLERS) == [
        Hierarchy(Path("/sys/fs/cgroup/cpu,cpuacct"), 1, "cpu,cpuacct"),
        Hierarchy(Path("/sys/fs/cgroup/cpuset"), 1, "cpuset"),
        Hierarchy(Path("/sys/fs/cgroup/systemd"), 1, "none,name=systemd"),
        Hierarchy(Path("/sys/fs/cgroup/unified"), 2, ""),
    ]


def test_version_2_is_one_hierarchy() -> None:
    assert parse_hierarchies(VERSION_2, CONTROLLERS) == [Hierarchy(Path("/sys/fs/cgroup"), 2, "")]


def test_the_view_replaces_the_mounts_and_leaves_the_root_of_version_2_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        cgroups, "hierarchies", lambda: [Hierarchy(Path("/c/memory"), 1, "memory"), Hierarchy(Path("/c/two"), 2, "")]
    )
    assert cgroups.view() == [
        ("umount", "/c/memory"),
        ("mount", "-t", "cgroup", "-o", "memory", "cgroup", "/c/memory"),
        ("umount", "/c/two"),
        ("mount", "-t", "cgroup2", "cgroup2", "/c/two"),
        ("mkdir", "/c/two/node"),
        ("sh", "-c", "echo 1 >/c/two/node/cgroup.procs"),
    ]


def test_groups_are_made_filled_in_and_removed_with_all_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cpuset", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "cpuset" / "cpuset.cpus").write_text("0-1\n")
    (tmp_path / "cpuset" / "cpuset.mems").write_text("0\n")
    (tmp_path / "two" / "cgroup.controllers").write_text("cpu memory\n")
    both = [Hierarchy(tmp_path / "cpuset", 1, "cpuset"), Hierarchy(tmp_path / "two", 2, "")]
    monkeypatch.setattr(cgroups, "hierarchies", lambda: both)

    assert cgroups.create("mine") == [tmp_path / "cpuset" / "mine", tmp_path / "two" / "mine"]
    assert (tmp_path / "cpuset" / "mine" / "cpuset.cpus").read_text() == "0-1\n"
    assert (tmp_path / "two" / "cgroup.subtree_control").read_text() == "+memory", "the last one written"
    assert cgroups.create("mine") == cgroups.existing("mine"), "nothing is in the way of a second time"

    for file in (tmp_path / "cpuset" / "mine").iterdir():
        file.unlink()  # in a real hierarchy these go with the folder
    (tmp_path / "two" / "mine" / "k8s.io" / "container").mkdir(parents=True)
    (tmp_path / "two" / "other").mkdir()
    assert cgroups.remove("mine")
    assert cgroups.existing("mine") == []
    assert (tmp_path / "two" / "other").is_dir()


def test_a_command_enters_its_group_in_every_hierarchy_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [Hierarchy(tmp_path / name, 1, name) for name in ("memory", "pids")]
    monkeypatch.setattr(cgroups, "hierarchies", lambda: both)
    for hierarchy in both:
        hierarchy.place.mkdir()
    argv = cgroups.entering(
        "mine-run", ["sh", "-c", 'cat "$@"', "cat", *(f"{h.place}/mine-run/cgroup.procs" for h in both)]
    )
    # In a real hierarchy the kernel takes 0 for the process that writes it.
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "0\n0\n"  # noqa: S603
    assert cgroups.existing("mine-run") == [hierarchy.place / "mine-run" for hierarchy in both]


def test_a_command_that_can_not_enter_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "hierarchies", lambda: [Hierarchy(tmp_path, 1, "memory")])
    argv = cgroups.entering("mine", ["echo", "started"])
    (tmp_path / "mine").rmdir()
    done = subprocess.run(argv, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode != 0
    assert done.stdout == ""


def test_the_processes_of_a_group_are_those_of_all_hierarchies_and_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [Hierarchy(tmp_path / name, 1, name) for name in ("memory", "pids")]
    monkeypatch.setattr(cgroups, "hierarchies", lambda: both)
    for folder, pids in (
        ("memory/mine", "1\n2\n"),
        ("memory/mine/below", "3\n"),
        ("pids/mine", "2\n"),
        ("pids/other", "9\n"),
    ):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "cgroup.procs").write_text(pids)
    assert cgroups.processes("mine") == {1, 2, 3}


def test_a_group_that_a_process_is_still_in_is_said_to_be_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "hierarchies", lambda: [Hierarchy(tmp_path, 2, "")])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "busy").touch()  # as a process would, it keeps the folder from being removed
    assert not cgroups.remove("mine")
