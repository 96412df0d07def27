"""The local node comes up from any state, and goes without a trace from any state."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from integration.cluster import cgroups, node
from integration.cluster.components import components
from integration.cluster.node_plan import PAUSE_IMAGE
from integration.cluster_lifecycle.leftovers import Footprint, footprint, leftovers

if TYPE_CHECKING:
    from collections.abc import Callable

    from integration.cluster_lifecycle.conftest import Cluster

SECONDS = 60.0
UP = (
    "from integration.cluster.local import Local; from integration.cluster.paths import Paths; Local(Paths.here()).up()"
)


def up_with_a_pod(cluster: Cluster) -> Footprint:
    """Bring a cluster up, run a pod in it, and note what there is of it then."""
    cluster.provider.up()
    cluster.kubectl("run", "pod", f"--image={PAUSE_IMAGE}", "--restart=Never")
    cluster.kubectl("wait", "pod/pod", "--for=condition=Ready", f"--timeout={SECONDS:.0f}s")
    trace = footprint(cluster.paths)
    # Eight components, the shim and two containers; each with its own network, or the node's.
    assert len(trace.processes) > 10
    assert len(trace.networks) == 2
    return trace


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {SECONDS:.0f} s: {what}"
        time.sleep(0.05)


def the_node(cluster: Cluster) -> node.Node:
    found = node.find(cluster.paths.node)
    assert found is not None
    return found


def test_up_again_changes_nothing_and_down_leaves_nothing(cluster: Cluster) -> None:
    trace = up_with_a_pod(cluster)
    before, started = the_node(cluster), time.monotonic()
    cluster.provider.up()
    assert time.monotonic() - started < 5
    assert the_node(cluster) == before
    assert leftovers(trace), "the test looks where there is something to be found"
    cluster.provider.down()
    assert leftovers(trace) == []
    assert not cluster.provider.running()
    cluster.provider.down()  # again: there is nothing to do


@pytest.mark.alone
def test_a_second_up_is_quick_and_one_on_a_running_cluster_nearly_at_once(cluster: Cluster) -> None:
    """By the command line, both images included: what takes long is in the cache since an earlier one."""
    for limit in (60, 5):
        began = time.monotonic()
        process = cluster.command("up", "--yes")
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
        assert "Building" not in errors
        seconds = time.monotonic() - began
        # Others that want the processors, too, get their share.
        busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
        assert seconds < limit * busy, f"{seconds:.1f} s, {busy:.1f} times as busy as can be:\n{errors}"


def test_a_killed_node_takes_everything_with_it_and_up_starts_afresh(cluster: Cluster) -> None:
    trace = up_with_a_pod(cluster)
    os.kill(the_node(cluster).outer.pid, signal.SIGKILL)
    wait_until(lambda: not any("process" in line for line in leftovers(trace)), "every process is gone")
    # As after a reboot: the folder still says that all was finished, and there is no process.
    assert cluster.paths.node.is_dir()
    assert not cluster.provider.running()
    cluster.provider.up()
    assert cluster.provider.running()
    assert cluster.kubectl("get", "pods") == "", "it is a new cluster"
    cluster.provider.down()
    assert leftovers(trace) == []


def test_down_leaves_nothing_after_every_component_and_pod_crashed(cluster: Cluster) -> None:
    trace = up_with_a_pod(cluster)
    for child in node.children(the_node(cluster).inner.pid):
        os.kill(child, signal.SIGKILL)
    cluster.provider.down()
    assert leftovers(trace) == []


def test_down_leaves_nothing_after_the_node_and_then_its_state_were_lost(cluster: Cluster) -> None:
    trace = up_with_a_pod(cluster)
    os.kill(the_node(cluster).inner.pid, signal.SIGKILL)
    (cluster.paths.node / "finished").unlink()
    (cluster.paths.node / "plan.json").unlink()
    cluster.provider.down()
    assert leftovers(trace) == []


def test_down_ends_what_was_run_on_the_node_and_outlived_who_ran_it(cluster: Cluster) -> None:
    """As the tests' kubectl and operators do when pytest is killed: they would hold the node's network."""
    cluster.provider.up()
    command = cluster.command("run", "sh", "-c", "sleep 600 & echo started; wait")
    assert command.stdout is not None
    assert command.stdout.readline() == "started\n"
    command.kill()
    command.wait()
    trace = footprint(cluster.paths)
    assert any("sleep" in line for line in leftovers(trace)), "it has outlived its parent"
    cluster.provider.down()
    assert leftovers(trace) == []


def test_down_is_refused_to_what_was_run_on_the_node(cluster: Cluster) -> None:
    cluster.provider.up()
    inside = cluster.command("run", sys.executable, "-m", "integration.cluster", "down")
    _, errors = inside.communicate(timeout=SECONDS)
    assert inside.returncode == 1
    assert "start it outside" in errors
    assert cluster.provider.running()


@pytest.mark.parametrize("group", [cgroups.of_commands, cgroups.of_docker])
def test_a_control_group_that_is_all_that_is_left_is_found_and_removed(
    cluster: Cluster, group: Callable[[str], str]
) -> None:
    name = group(cluster.paths.prefix)
    cgroups.create(name)
    assert cluster.provider.present()
    cluster.provider.down()
    assert cgroups.existing(name) == []
    assert not cluster.provider.present()


def test_a_build_that_is_killed_leaves_no_process_and_no_mount(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\nRUN echo begun >&2; sleep 601.5\n")
    build = (
        "from pathlib import Path\n"
        "from integration.cluster.images import Builder, Image; from integration.cluster.paths import Paths\n"
        f"folder, cache = Path({str(tmp_path)!r}), Paths.here().cache\n"
        "Builder.here(cache).build(Image('killed', folder, (folder / 'Dockerfile',)))\n"
    )
    before = storage_mounts(cluster)
    killed = cluster.python(build)
    wait_until(lambda: any("sleep 601.5" in line for line in command_lines()), "the build runs its command")
    killed.kill()
    killed.communicate()
    wait_until(lambda: not any("601.5" in line for line in command_lines()), "the build has ended")
    assert storage_mounts(cluster) == before
    shutil.rmtree(cluster.paths.cache / "images" / "killed")


def command_lines() -> list[str]:
    """Those of all programs but shells, whose scripts name what they start."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            found.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in found if not line.startswith(("/bin/sh", "sh "))]


def storage_mounts(cluster: Cluster) -> list[str]:
    """What is mounted in the builder's storage, as every process sees it that has no mounts of its own."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if str(cluster.paths.cache / "buildah") in line]


def test_up_survives_one_that_was_killed_half_way(cluster: Cluster) -> None:
    killed = cluster.python(UP)
    wait_until(lambda: components(cluster.paths) != {}, "the node is being started")
    killed.kill()
    killed.communicate()
    trace = footprint(cluster.paths)
    assert not cluster.provider.running(), "it was not completely set up"
    cluster.provider.up()
    assert cluster.provider.running()
    cluster.provider.down()
    assert leftovers(trace) == []


def test_two_clusters_never_meet_and_two_ups_make_one_cluster(cluster: Cluster, other: Cluster) -> None:
    for process in [cluster.python(UP), cluster.python(UP), other.python(UP)]:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    for one in (cluster, other):
        assert one.provider.running()
        assert len(node.processes(one.paths.node)) == 2, "one node is two processes: the outer and the inner one"
    cluster.kubectl("create", "namespace", "only-here")
    assert "NotFound" in other.kubectl("get", "namespace", "only-here", check=False)
    trace = footprint(cluster.paths)
    assert not trace.networks & footprint(other.paths).networks
    cluster.provider.down()
    assert leftovers(trace) == []
    assert other.provider.running()
    other.kubectl("get", "--raw=/readyz")
