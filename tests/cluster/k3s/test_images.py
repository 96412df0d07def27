"""How images are built for k3s and loaded into it."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest

from integration.cluster.provider import ProviderError
from tests.cluster.fake_docker import FakeDocker, docker_archive
from tests.cluster.k3s.container import only

if TYPE_CHECKING:
    from pathlib import Path

    from integration.cluster.k3s import K3s
    from integration.cluster.paths import Paths


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
    only(daemon).status = "exited"
    with pytest.raises(ProviderError, match="not up"):
        cluster.load("any:1")
