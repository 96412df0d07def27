"""How k3s is run by testcontainers: the real classes and the real Docker client, against a daemon that only notes."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest
import yaml
from testcontainers.core.config import ConnectionMode, testcontainers_config

from integration.cluster import docker_probe, foreground, k3s, k3s_kubectl
from integration.cluster.k3s import K3s
from integration.cluster.paths import Paths
from integration.cluster.provider import ProviderError, Verdict
from tests.cluster.fake_docker import KUBECONFIG, PORT, Container, FakeDocker, docker_archive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_PROGRAM = b'#!/bin/sh\necho "$(basename "$0") of k3s: $*"\n'


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the user's or the machine's settings; testcontainers' own, which `up` changes, are put back."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setattr(testcontainers_config, "tc_properties", {})
    monkeypatch.setattr(testcontainers_config, "connection_mode_override", ConnectionMode.docker_host)
    monkeypatch.setattr(testcontainers_config, "ryuk_disabled", False)
    monkeypatch.delenv("TESTCONTAINERS_HUB_IMAGE_NAME_PREFIX", raising=False)
    for name in ("DOCKER_TLS_VERIFY", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDocker]:
    with FakeDocker(execute=_healthy, files={"/bin/k3s": _PROGRAM}) as fake:
        monkeypatch.setenv("DOCKER_HOST", fake.url)
        yield fake


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    checkout = tmp_path / "checkout"
    for name in ("Dockerfile", "pyproject.toml", "README.md", "LICENSE", "dask_k8s_operator/__init__.py", ".git/HEAD"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text(name)
    (checkout / ".dockerignore").write_text(".git\n")
    return Paths(checkout, "0123abcd", "dask-k8s-0123abcd", tmp_path / "state", tmp_path / "cache")


@pytest.fixture
def cluster(paths: Paths) -> K3s:
    return K3s(paths)


def _healthy(command: list[str]) -> tuple[int, str]:
    if command[:2] == ["cat", "/etc/rancher/k3s/k3s.yaml"]:
        return 0, KUBECONFIG
    return (1, "") if command[0] == "crictl" else (0, "")


def _only(daemon: FakeDocker) -> Container:
    [container] = daemon.containers.values()
    return container


def test_the_server_is_started_with_what_the_tests_need(daemon: FakeDocker, cluster: K3s) -> None:
    cluster.up()
    container = _only(daemon)
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
    before = _only(daemon)
    cluster.kubeconfig().unlink()
    K3s(paths).up()
    assert _only(daemon) is before
    assert cluster.kubeconfig().exists()


@pytest.mark.parametrize("status", ["exited", "created", "paused"])
def test_a_container_that_does_not_run_is_replaced(daemon: FakeDocker, cluster: K3s, status: str) -> None:
    cluster.up()
    before = _only(daemon)
    before.status = status
    cluster.up()
    after = _only(daemon)
    assert after is not before
    assert after.status == "running"
    assert daemon.asked("DELETE", f"/containers/{before.id}") == [{"v": "True", "link": "False", "force": "True"}]


def test_a_container_with_other_settings_is_replaced(
    daemon: FakeDocker, cluster: K3s, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.up()
    before = _only(daemon)
    monkeypatch.setattr(k3s, "server_arguments", lambda _: ("server", "--debug"))
    cluster.up()
    assert _only(daemon) is not before
    assert _only(daemon).spec["Cmd"] == ["server", "--debug"]


def test_a_container_that_is_not_ready_in_time_is_replaced(
    daemon: FakeDocker, cluster: K3s, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.up()
    before = _only(daemon)
    monkeypatch.setattr(k3s, "_REVIVAL_SECONDS", 0)
    daemon.execute = lambda command: (1, "") if _only(daemon) is before else _healthy(command)
    cluster.up()
    assert _only(daemon) is not before


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
    daemon.execute = _healthy
    _only(daemon).status = "exited"
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


def test_an_image_that_docker_has_is_loaded(daemon: FakeDocker, cluster: K3s) -> None:
    cluster.up()
    daemon.images["mine:1"] = {}
    seen: list[list[str]] = []

    def execute(command: list[str]) -> tuple[int, str]:
        """The kubelet sees the image some time after the import only."""
        if command[0] == "crictl":
            seen.append(command)
        return (0 if command[0] != "crictl" or len(seen) > 4 else 1), ""

    daemon.execute = execute
    cluster.load("mine:1")
    [upload] = daemon.uploads
    [(path, archive)] = upload.items()
    assert archive == docker_archive("mine:1")
    [imported] = [command for command in daemon.executed if command[0] == "ctr"]
    assert imported == ["ctr", "--namespace=k8s.io", "images", "import", f"/{path}"]
    assert ["rm", "-f", f"/{path}"] in daemon.executed
    assert seen[-1] == ["crictl", "inspecti", "--quiet", "mine:1"]
    assert daemon.executed[-1][0] == "crictl", "returns only once the kubelet can see the image"


def test_an_archive_is_loaded(daemon: FakeDocker, cluster: K3s, tmp_path: Path) -> None:
    cluster.up()
    daemon.execute = lambda _: (0, "")
    archive = tmp_path / "image.tar"
    archive.write_bytes(docker_archive("localhost/other:2"))
    cluster.load(str(archive))
    assert [list(upload.values()) for upload in daemon.uploads] == [[archive.read_bytes()]]


def test_an_import_that_fails_says_why_and_leaves_no_upload(daemon: FakeDocker, cluster: K3s, tmp_path: Path) -> None:
    cluster.up()
    archive = tmp_path / "image.tar"
    archive.write_bytes(docker_archive("localhost/other:2"))
    daemon.execute = lambda command: (1, "ctr: no space left") if command[0] == "ctr" else (0, "")
    with pytest.raises(ProviderError, match="no space left"):
        cluster.load(str(archive))
    assert daemon.executed[-1][0] == "rm"


def test_an_image_that_nobody_has(daemon: FakeDocker, cluster: K3s) -> None:
    cluster.up()
    with pytest.raises(ProviderError, match="Docker has no image nobody:1"):
        cluster.load("nobody:1")
    assert not daemon.uploads


def test_both_images_are_built_and_loaded_once(
    daemon: FakeDocker, cluster: K3s, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple")
    cluster.up()
    loaded: set[str] = set()
    daemon.execute = lambda command: _runtime(command, daemon, loaded)
    made = cluster.images()
    (operator, context), (dask, dask_context) = daemon.builds
    assert (operator["t"], dask["t"]) == (made.operator, made.dask)
    assert made.operator.startswith("localhost/dask-k8s-operator:")
    assert made.dask.startswith("localhost/dask:")
    assert {"Dockerfile", "dask_k8s_operator/__init__.py"} <= context
    assert ".git/HEAD" not in context
    assert "Dockerfile" in dask_context
    assert json.loads(operator["buildargs"]) == {"PIP_INDEX_URL": "https://index.example/simple"}
    assert json.loads(dask["buildargs"])["BASE"].startswith("python:3.")
    assert loaded == {made.operator, made.dask}

    assert cluster.images() == made
    assert (len(daemon.builds), len(daemon.uploads)) == (2, 2)
    loaded.clear()
    assert cluster.images() == made
    assert (len(daemon.builds), loaded) == (2, {made.operator, made.dask})

    (paths.checkout / "dask_k8s_operator" / "__init__.py").write_text("changed")
    changed = cluster.images()
    assert changed.operator != made.operator
    assert changed.dask == made.dask
    assert len(daemon.builds) == 3


def _runtime(command: list[str], daemon: FakeDocker, loaded: set[str]) -> tuple[int, str]:
    """A container runtime that has what was imported into it."""
    if command[0] == "ctr":
        [archive] = daemon.uploads[-1].values()
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            manifest = tar.extractfile("manifest.json")
            assert manifest
            loaded.update(json.load(manifest)[0]["RepoTags"])
    if command[0] == "crictl":
        return (0 if command[-1] in loaded else 1), ""
    return 0, ""


def test_older_images_are_forgotten(daemon: FakeDocker, cluster: K3s, paths: Paths) -> None:
    cluster.up()
    loaded: set[str] = set()
    daemon.execute = lambda command: _runtime(command, daemon, loaded)
    made = []
    for content in range(5):
        (paths.checkout / "Dockerfile").write_text(str(content))
        made.append(cluster.images().operator)
    assert [name for name in daemon.images if name in made] == made[2:]


def test_without_a_cluster_nothing_is_built(daemon: FakeDocker, cluster: K3s) -> None:
    with pytest.raises(ProviderError, match="not up"):
        cluster.images()
    with pytest.raises(ProviderError, match="not up"):
        cluster.run(["true"])
    assert not daemon.builds


def test_a_container_that_ended_is_no_cluster(daemon: FakeDocker, cluster: K3s) -> None:
    cluster.up()
    _only(daemon).status = "exited"
    with pytest.raises(ProviderError, match="not up"):
        cluster.load("any:1")


def test_a_command_outside(daemon: FakeDocker, cluster: K3s, capfd: pytest.CaptureFixture[str]) -> None:
    cluster.up()
    _only(daemon).pid = os.getpid()  # a process of this machine, as another machine's daemon may name it
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
