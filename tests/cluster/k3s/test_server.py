"""The container of k3s: how it is started, found again, replaced and removed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import yaml

from integration.cluster import k3s
from integration.cluster.k3s import K3s
from integration.cluster.provider import ProviderError
from tests.cluster.fake_docker import PORT, FakeDocker
from tests.cluster.k3s.container import healthy, only

if TYPE_CHECKING:
    from pathlib import Path

    from integration.cluster.paths import Paths


def test_the_server_is_started_with_what_the_tests_need(daemon: FakeDocker, cluster: K3s) -> None:
    cluster.up()
    container = only(daemon)
    assert container.name == "dask-k8s-0123abcd-k3s"
    assert container.status == "running"
    spec = container.spec
    assert spec["Image"] == k3s.image()
    assert spec["Hostname"] == "k3s"
    assert spec["Cmd"] == [
        "server",
        "--tls-san=127.0.0.1",
        "--disable=traefik",
        "--disable=metrics-server",
        "--kube-apiserver-arg=feature-gates=HPAScaleToZero=true",
        "--kube-controller-manager-arg=feature-gates=HPAScaleToZero=true",
        "--kube-controller-manager-arg=horizontal-pod-autoscaler-sync-period=2s",
    ]
    assert spec["Labels"]["dask-k8s-operator.test-cluster"] == "0123abcd"
    assert not spec.get("Env"), "K3S_URL would make it join another server"
    host = spec["HostConfig"]
    assert host["Privileged"] is True
    assert set(host["Tmpfs"]) == {"/run", "/var/run"}
    assert list(host["PortBindings"]) == ["6443/tcp"]
    assert not host.get("Binds")
    assert not host.get("AutoRemove")


def test_its_kubernetes_is_of_the_local_nodes_version() -> None:
    assert k3s.image().startswith("rancher/k3s:v1.")
    assert k3s.image().endswith("-k3s1")


def test_nothing_reaps_it(daemon: FakeDocker, cluster: K3s) -> None:
    cluster.up()
    created = [query["name"] for query in daemon.asked("POST", "/containers/create")]
    assert created == ["dask-k8s-0123abcd-k3s"]


def test_a_missing_image_is_pulled(daemon: FakeDocker, cluster: K3s) -> None:
    cluster.up()
    repository, _, tag = k3s.image().partition(":")
    [query] = daemon.asked("POST", "/images/create")
    assert (query["fromImage"], query["tag"]) == (repository, tag)


@pytest.mark.usefixtures("daemon")
def test_kubeconfigs_for_outside_and_inside(cluster: K3s, paths: Paths) -> None:
    cluster.up()
    inside = paths.state / "k3s" / "kubeconfig-inside"
    assert _server(cluster.kubeconfig()) == f"https://127.0.0.1:{PORT}"
    assert _server(inside) == "https://127.0.0.1:6443"
    if os.name == "posix":
        assert (paths.state / "k3s").stat().st_mode & 0o077 == 0


def _server(kubeconfig: Path) -> str:
    return str(yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"])


def test_up_again_starts_nothing(daemon: FakeDocker, cluster: K3s, paths: Paths) -> None:
    cluster.up()
    before = only(daemon)
    cluster.kubeconfig().unlink()
    K3s(paths).up()
    assert only(daemon) is before
    assert cluster.kubeconfig().exists()


@pytest.mark.parametrize("status", ["exited", "created", "paused"])
def test_a_container_that_does_not_run_is_replaced(daemon: FakeDocker, cluster: K3s, status: str) -> None:
    cluster.up()
    before = only(daemon)
    before.status = status
    cluster.up()
    after = only(daemon)
    assert after is not before
    assert after.status == "running"
    assert daemon.asked("DELETE", f"/containers/{before.id}") == [{"v": "True", "link": "False", "force": "True"}]


def test_a_container_with_other_settings_is_replaced(
    daemon: FakeDocker, cluster: K3s, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.up()
    before = only(daemon)
    monkeypatch.setattr(k3s, "server_arguments", lambda _: ("server", "--debug"))
    cluster.up()
    assert only(daemon) is not before
    assert only(daemon).spec["Cmd"] == ["server", "--debug"]


def test_a_container_that_is_not_ready_in_time_is_replaced(
    daemon: FakeDocker, cluster: K3s, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.up()
    before = only(daemon)
    monkeypatch.setattr(k3s, "_REVIVAL_SECONDS", 0)
    daemon.execute = lambda command: (1, "") if only(daemon) is before else healthy(command)
    cluster.up()
    assert only(daemon) is not before


def test_a_server_that_never_is_ready_is_an_error_with_its_log(
    daemon: FakeDocker, cluster: K3s, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(k3s, "_READY_SECONDS", 0)
    daemon.execute = lambda _: (1, "")
    with pytest.raises(ProviderError, match=r"(?s)readyz.*the last line of the log"):
        cluster.up()


def test_running_tells_what_the_api_server_says(daemon: FakeDocker, cluster: K3s) -> None:
    assert not cluster.running()
    cluster.up()
    assert cluster.running()
    daemon.execute = lambda _: (1, "")
    assert not cluster.running()
    daemon.execute = healthy
    only(daemon).status = "exited"
    assert not cluster.running()


def test_running_without_a_daemon(cluster: K3s, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    assert not cluster.running()


def test_down_removes_its_own_container_and_state_alone(daemon: FakeDocker, cluster: K3s, paths: Paths) -> None:
    other = daemon.create("dask-k8s-ffffffff-k3s", {}, status="running")
    cluster.up()
    mine = daemon.find("dask-k8s-0123abcd-k3s")
    assert mine
    cluster.down()
    assert list(daemon.containers.values()) == [other]
    assert daemon.asked("DELETE", f"/containers/{mine.id}") == [{"v": "True", "link": "False", "force": "True"}]
    assert not paths.state.exists()
    cluster.down()


def test_down_leaves_what_another_provider_keeps_beside_it(daemon: FakeDocker, cluster: K3s, paths: Paths) -> None:
    cluster.up()
    paths.node.mkdir()
    cluster.down()
    assert not daemon.containers
    assert list(paths.state.iterdir()) == [paths.node]


def test_down_without_a_daemon_does_not_pretend(cluster: K3s, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    with pytest.raises(ProviderError, match="Docker: "):
        cluster.down()
