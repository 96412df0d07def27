"""Whether the Docker daemon of this machine can run a Kubernetes in a container."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker.errors
import requests
from testcontainers.core.config import ConnectionMode
from testcontainers.core.docker_client import DockerClient

from integration.cluster.provider import Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_SECONDS = 5
# capabilities(7); those that containers are most often denied.
_CAPABILITIES = {12: "CAP_NET_ADMIN", 19: "CAP_SYS_PTRACE", 21: "CAP_SYS_ADMIN", 24: "CAP_SYS_RESOURCE"}
_PEER = struct.Struct("3i")


def probe(image: str) -> Verdict:
    """Ask the daemon about itself, and where to get an image; starts and fetches nothing."""
    try:
        wrapper = DockerClient(timeout=_SECONDS)
        client = wrapper.client
        if wrapper.get_connection_mode() is not ConnectionMode.docker_host:
            return Verdict(usable=False, reason="this is a container itself, where testcontainers can't run k3s")
        verdict = judge(client.info(), lacking=_lacking(client))
    except (docker.errors.DockerException, requests.RequestException) as error:
        return Verdict(usable=False, reason=f"no Docker daemon answers: {_first_line(error)}")
    if not verdict.usable:
        return verdict
    try:
        _find(client, image)
    except (docker.errors.DockerException, requests.RequestException) as error:
        return Verdict(usable=False, reason=f"Docker neither has {image} nor can fetch it: {_first_line(error)}")
    return verdict


def judge(info: Mapping[str, Any], *, lacking: Collection[int]) -> Verdict:
    """Decide from what the daemon says of itself.

    Args:
        info: the answer of the Docker API's `/info`.
        lacking: the numbers of the capabilities that a privileged container gets but this daemon can't give.
    """
    if info.get("OSType") != "linux":
        return Verdict(usable=False, reason="the Docker daemon runs no Linux containers")
    if lacking:
        names = ", ".join(_CAPABILITIES.get(number, f"capability {number}") for number in sorted(lacking))
        return Verdict(usable=False, reason=f"the Docker daemon can't run privileged containers: it lacks {names}")
    if any("name=rootless" in option for option in info.get("SecurityOptions") or ()):
        return Verdict(usable=False, reason="the Docker daemon runs without root, and the kubelet needs more rights")
    if str(info.get("CgroupVersion", "1")) == "1":
        return Verdict(usable=False, reason="the machine has control groups version 1, which the kubelet refuses")
    return Verdict(usable=True, reason=f"Docker {info.get('ServerVersion', '')} answers")


def _lacking(client: Any) -> frozenset[int]:
    """Look up what the process that listens at the socket may not do.

    Nothing is known, so nothing is held against it, where the daemon is on another machine or in another PID
    namespace. A desktop's socket belongs to an ordinary process, which may gain any capability.
    """
    path = getattr(client.api.get_adapter(client.api.base_url), "socket_path", "")
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_SECONDS)
            connection.connect(path)
            pid, _, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        status = Path(f"/proc/{pid}/status").read_text()
        last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    except (OSError, AttributeError):  # no such socket, no Unix sockets, no Linux
        return frozenset()
    return missing_capabilities(status, last=last)


def missing_capabilities(status: str, *, last: int) -> frozenset[int]:
    """Read from a process's status (proc_pid_status(5)) which capabilities up to `last` it can't ever have."""
    for line in status.splitlines():
        if line.startswith("CapBnd:"):
            bounding = int(line.split()[1], 16)
            return frozenset(number for number in range(last + 1) if not bounding >> number & 1)
    return frozenset()


def _find(client: Any, image: str) -> None:
    try:
        client.images.get(image)
    except docker.errors.ImageNotFound:
        client.images.get_registry_data(image)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
