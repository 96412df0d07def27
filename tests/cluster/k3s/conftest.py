"""K3s without settings of the user or the machine, for a checkout of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from testcontainers.core.config import ConnectionMode, testcontainers_config

from integration.cluster.k3s import K3s
from integration.cluster.paths import Paths
from tests.cluster.fake_docker import FakeDocker
from tests.cluster.k3s.container import healthy

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
    with FakeDocker(execute=healthy, files={"/bin/k3s": _PROGRAM}) as fake:
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
