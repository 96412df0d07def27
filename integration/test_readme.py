"""The README's installation, word by word: no overlay, no patch, no `--namespace`."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from integration.dask_cluster import CHECKOUT, DaskCluster
from integration.session import InstalledOperator

if TYPE_CHECKING:
    from pathlib import Path

    from integration.cluster.provider import Images
    from integration.kube import Kube

INSTALL = "kubectl apply -k deploy/"
MAKE = "kubectl apply -k example/"
LIST = "kubectl get clusters.dask.charmtx.com"
SCALE = "kubectl scale clusters.dask.charmtx.com/example-dask --replicas=2"


@pytest.fixture
def _current_namespace(unattended: Kube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kubeconfig whose current context has the test's namespace: the current one."""
    config = tmp_path / "kubeconfig"
    config.write_text(unattended.run("config", "view", "--raw", "--flatten"))
    config.chmod(0o600)
    monkeypatch.setenv("KUBECONFIG", str(config))
    subprocess.run(["kubectl", "config", "set-context", "--current", f"--namespace={unattended.namespace}"], check=True)


@pytest.mark.usefixtures("_current_namespace")
def test_an_operator_and_a_cluster_in_the_current_namespace(unattended: Kube, images: Images, tmp_path: Path) -> None:
    readme = (CHECKOUT / "README.md").read_text()
    assert all(f"\n{command}\n" in readme for command in (INSTALL, MAKE, LIST, SCALE))
    for folder in ("deploy", "example"):
        shutil.copytree(CHECKOUT / folder, tmp_path / folder)
    _set_image(tmp_path / "deploy" / "kustomization.yaml", images.operator)
    _set_image(tmp_path / "example" / "base" / "kustomization.yaml", images.dask)

    _run(INSTALL, tmp_path)
    unattended.run("rollout", "status", "deployment/dask-operator", "--timeout=60s")
    _run(MAKE, tmp_path)
    cluster = DaskCluster(unattended, "example-dask")
    cluster.wait_settled(1)
    assert "example-dask" in _run(LIST, tmp_path)
    _run(SCALE, tmp_path)
    cluster.wait_settled(2)
    used = {container["image"] for pod in cluster.workers() for container in pod["spec"]["containers"]}
    assert used == {images.dask}
    operator = InstalledOperator(unattended, deployment="dask-operator")
    assert operator.refusals() == []
    assert operator.restarts() == 0


def _set_image(file: Path, reference: str) -> None:
    """Edit what stands under `images:`, as the README asks for."""
    name, _, tag = reference.rpartition(":")
    text, names = re.subn(r"(?m)^( +newName: ).*$", rf"\g<1>{name}", file.read_text())
    text, tags = re.subn(r"(?m)^( +newTag: ).*$", rf'\g<1>"{tag}"', text)
    assert (names, tags) == (1, 1)
    file.write_text(text)


def _run(command: str, folder: Path) -> str:
    return subprocess.run(shlex.split(command), cwd=folder, check=True, capture_output=True, text=True).stdout
