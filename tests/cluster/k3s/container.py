"""The container in which k3s runs, and how it answers."""

from __future__ import annotations

from tests.cluster.fake_docker import KUBECONFIG, Container, FakeDocker


def only(daemon: FakeDocker) -> Container:
    """The one container that the daemon has."""
    [container] = daemon.containers.values()
    return container


def healthy(command: list[str]) -> tuple[int, str]:
    """What a command in it ends with while all is well and no image has been loaded."""
    if command[:2] == ["cat", "/etc/rancher/k3s/k3s.yaml"]:
        return 0, KUBECONFIG
    return (1, "") if command[0] == "crictl" else (0, "")
