"""Commands that use k3s: where they run, and which kubectl they find."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from integration.cluster import docker_probe, foreground, k3s, k3s_kubectl
from integration.cluster.provider import ProviderError, Verdict
from tests.cluster.k3s.container import only

if TYPE_CHECKING:
    from pathlib import Path

    from integration.cluster.k3s import K3s
    from integration.cluster.paths import Paths
    from tests.cluster.fake_docker import FakeDocker


def test_a_command_outside(daemon: FakeDocker, cluster: K3s, capfd: pytest.CaptureFixture[str]) -> None:
    cluster.up()
    only(daemon).pid = os.getpid()  # a process of this machine, as another machine's daemon may name it
    assert cluster.run(["sh", "-c", 'echo "$KUBECONFIG"; exit 3']) == 3
    out, err = capfd.readouterr()
    assert out.strip() == str(cluster.kubeconfig())
    assert "only the API server can be reached" in err


@pytest.mark.usefixtures("daemon")
def test_a_command_inside(cluster: K3s, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.up()
    ran: list[tuple[list[str], str]] = []

    def run(argv: list[str], *, kubeconfig: Path, programs: Path | None) -> int:
        ran.append((argv, str(kubeconfig)))
        assert programs == k3s_kubectl.folder(paths.cache, image=k3s.image())
        return 3

    monkeypatch.setattr(k3s._Server, "shared_pid", lambda _: 4321)
    monkeypatch.setattr(foreground, "run", run)
    assert cluster.run(["kubectl", "get", "nodes"]) == 3
    [(argv, kubeconfig)] = ran
    assert argv[:3] == ["nsenter", "--net=/proc/4321/ns/net", "--"]
    assert argv[-4:] == [str(paths.state / "k3s" / "resolv.conf"), "kubectl", "get", "nodes"]
    assert kubeconfig == str(paths.state / "k3s" / "kubeconfig-inside")
    assert (paths.state / "k3s" / "resolv.conf").read_text().startswith("nameserver 10.43.0.10\n")


@pytest.mark.skipif(sys.platform != "linux", reason="k3s has a kubectl for Linux alone")
def test_kubectl_comes_out_of_the_container(
    daemon: FakeDocker, cluster: K3s, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    cluster.up()
    assert cluster.run(["kubectl", "get", "nodes"]) == 0
    assert capfd.readouterr().out == "kubectl of k3s: get nodes\n"
    cluster.down()
    cluster.up()
    assert daemon.asked("GET", "/containers/[^/]+/archive") == [{"path": "/bin/k3s"}], "once and for all"


@pytest.mark.skipif(sys.platform != "linux", reason="k3s has a kubectl for Linux alone")
def test_a_container_without_kubectl_is_an_error(daemon: FakeDocker, cluster: K3s) -> None:
    daemon.files.clear()
    with pytest.raises(ProviderError, match="/bin/k3s"):
        cluster.up()


@pytest.mark.parametrize(
    ("system", "own", "reason"),
    [
        ("linux", False, "Docker answers"),
        ("darwin", True, "Docker answers"),
        ("darwin", False, "kubectl is not on the PATH; install it first (k3s has one only for Linux)"),
    ],
)
def test_where_k3s_can_not_bring_kubectl_the_machine_has_to_have_it(
    cluster: K3s, monkeypatch: pytest.MonkeyPatch, system: str, *, own: bool, reason: str
) -> None:
    monkeypatch.setattr(docker_probe, "probe", lambda _: Verdict(usable=True, reason="Docker answers"))
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: "/usr/local/bin/kubectl" if own else None)
    verdict = cluster.verdict()
    assert (verdict.usable, verdict.reason) == (reason == "Docker answers", reason)
