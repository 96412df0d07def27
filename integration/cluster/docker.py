"""A Docker daemon of our own, for the tests that want an ordinary one: nothing of it is seen by the machine's."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import docker
import docker.errors
import requests

from integration.cluster import cgroups, host
from integration.cluster.cache import lock
from integration.cluster.command import bound, environment
from integration.cluster.progress import step
from integration.cluster.provider import ProviderError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from integration.cluster.paths import Paths

_START_SECONDS = 60.0
_END_SECONDS = 60.0
_LOAD_SECONDS = 600
_TICK = 0.05
# Docker and containerd write to fixed places, whatever they are told: here they write to memory.
_SETUP = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run
for folder in etc opt; do
    mkdir -p "/run/$folder/upper" "/run/$folder/work"
    mount -t overlay -o "lowerdir=/$folder,upperdir=/run/$folder/upper,workdir=/run/$folder/work" overlay "/$folder"
done
exec "$0" "$@"
"""


@contextmanager
def daemon(paths: Paths) -> Iterator[str]:
    """Run a Docker daemon while the context lasts, with its own socket, data and namespaces; without networks.

    Yields:
        Its address, as DOCKER_HOST names it.

    Raises:
        ProviderError: it did not start, or something of it would not go.
    """
    folder, cgroup = paths.node / "docker", cgroups.of_docker(paths.prefix)
    with lock(paths.cache / "locks" / f"{paths.key}-docker"):
        _remove(folder, cgroup)  # what is left of one that was killed
        folder.mkdir(parents=True, mode=0o700)
        process = _start(folder, cgroup, host.inspect(paths.cache))
        try:
            address = f"unix://{folder}/docker.sock"
            with step("Starting a Docker daemon"):
                _await(process, address, folder / "log")
            yield address
        finally:
            process.kill()
            process.wait()
            _remove(folder, cgroup)


def answers(address: str) -> bool:
    """Whether a daemon is there."""
    client: Any = None
    try:
        client = docker.DockerClient(base_url=address)
        return bool(client.ping())
    except (docker.errors.DockerException, requests.RequestException):
        return False
    finally:
        if client is not None:
            client.close()


def load(address: str, archive: Path) -> None:
    """Load a docker archive into a daemon.

    Raises:
        ProviderError: the daemon does not take it.
    """
    client = docker.DockerClient(base_url=address, timeout=_LOAD_SECONDS)
    try:
        with archive.open("rb") as file:
            client.images.load(file)
    except docker.errors.DockerException as error:
        raise ProviderError(f"{archive} can't be loaded: {error}") from error
    finally:
        client.close()


def _start(folder: Path, cgroup: str, machine: host.Host) -> subprocess.Popen[bytes]:
    programs = [machine.program(name) for name in ("dockerd", "containerd", "runc")]
    settings = folder / "daemon.json"
    settings.write_text("{}")  # the machine's own may say something else
    argv = (
        str(programs[0]),
        f"--config-file={settings}",
        f"--host=unix://{folder}/docker.sock",
        f"--data-root={folder}/data",
        "--exec-root=/run/docker",
        "--pidfile=/run/docker.pid",
        f"--cgroup-parent=/{cgroup}",
        "--exec-opt=native.cgroupdriver=cgroupfs",
        "--bridge=none",
        "--iptables=false",
        "--ip6tables=false",
        "--ip-forward=false",
        "--userland-proxy=false",
    )
    env = environment()
    env["PATH"] = os.pathsep.join([*(str(program.parent) for program in programs), env["PATH"]])
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            bound(["sh", "-c", _SETUP, *argv], "--net", "--ipc", "--uts"),
            cwd="/",
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # a Ctrl-C is for the tests, which then end the daemon
        )


def _await(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not answers(address):
        if process.poll() is not None or time.monotonic() > deadline:
            last = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
            raise ProviderError(f"the Docker daemon did not start; its log ends with:\n{last}")
        time.sleep(_TICK)


def _remove(folder: Path, cgroup: str) -> None:
    """Remove what stays behind when all the daemon's processes are killed, as soon as they are gone."""
    deadline = time.monotonic() + _END_SECONDS
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        if cgroups.remove(cgroup) and not folder.exists():
            break
        if time.monotonic() > deadline:
            raise ProviderError(f"{folder} or control groups {cgroup} could not be removed")
        time.sleep(_TICK)
    for emptied in folder.parents[:2]:
        with contextlib.suppress(OSError):  # it holds something else, or is gone
            emptied.rmdir()
