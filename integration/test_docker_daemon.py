"""The Docker daemon of our own: nothing of it stays, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from docker import DockerClient

from integration.cluster import cgroups, docker, host
from integration.cluster.choice import select
from integration.cluster.local import Local
from integration.cluster.node_plan import PAUSE_IMAGE
from integration.cluster.paths import Paths
from integration.cluster.static_images import write_pause_archive

if TYPE_CHECKING:
    from collections.abc import Callable

_SECONDS = 20.0
_HOLDER = """
import pathlib, sys, time
from integration.cluster import docker
from integration.cluster.paths import Paths
state, cache = map(pathlib.Path, sys.argv[1:])
with docker.daemon(Paths(state, "{key}", "{prefix}", state, cache)) as address:
    print(address, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """Places of its own; only the cache, with the programs, is shared."""
    provider = select()
    if not isinstance(provider, Local):
        pytest.skip(f"a daemon of our own is for the local node; here the cluster is by {provider.name}")
    key = f"{os.getpid():08x}"
    return Paths(tmp_path, key, f"dask-k8s-test-{key}", tmp_path / "state", Paths.here().cache)


def test_it_leaves_nothing(paths: Paths, tmp_path: Path) -> None:
    archive = tmp_path / "pause.tar"
    write_pause_archive(archive, busybox=host.inspect(paths.cache).program("busybox"))
    system = [Path("/etc/docker"), Path("/opt/containerd"), Path("/run/docker"), Path("/run/docker.pid")]
    before = [_contents(place) for place in system]
    groups = cgroups.existing("docker")
    with docker.daemon(paths) as address:
        assert _processes(paths)
        docker.load(address, archive)
        client = DockerClient(base_url=address)
        container = client.containers.run(PAUSE_IMAGE, detach=True, network_mode="none")
        container.reload()
        assert container.status == "running"
        client.close()
        assert cgroups.existing(f"{paths.prefix}-docker"), "the container's control groups are below its own"
    assert not _processes(paths)
    assert not cgroups.existing(f"{paths.prefix}-docker")
    assert cgroups.existing("docker") == groups
    assert not paths.state.exists()
    assert [_contents(place) for place in system] == before


def test_it_ends_with_a_process_that_is_killed(paths: Paths) -> None:
    script = _HOLDER.format(key=paths.key, prefix=paths.prefix)
    argv = [sys.executable, "-c", script, str(paths.state), str(paths.cache)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=Paths.here().checkout) as holder:
        assert holder.stdout
        address = holder.stdout.readline().strip()
        assert docker.answers(address)
        holder.send_signal(signal.SIGKILL)
    _wait(lambda: not docker.answers(address) and not _processes(paths))
    with docker.daemon(paths) as again:
        assert again == address
        assert docker.answers(again)
    assert not paths.state.exists()


def _processes(paths: Paths) -> list[str]:
    """The command lines that name the daemon's folder, this process's own aside."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if f"{paths.node}/docker" in line:
            found.append(line)
    return found


def _contents(place: Path) -> list[Path] | None:
    return sorted(place.rglob("*")) if place.exists() else None


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {_SECONDS} s"
        time.sleep(0.05)
