"""Which Kubernetes is built, by which Go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from integration.cluster import binaries
from integration.cluster.provider import ProviderError

if TYPE_CHECKING:
    from pathlib import Path


def test_the_version_is_the_module_files() -> None:
    version = binaries.kubernetes_version((binaries.MODULE / "go.mod").read_text())
    assert version.count(".") == 2


@pytest.mark.parametrize(
    "text",
    [
        "require k8s.io/kubernetes v1.2.3\n",
        "require (\n\tk8s.io/api v0.2.3\n\tk8s.io/kubernetes v1.2.3 // indirect\n)\n",
    ],
)
def test_the_version_is_found_wherever_it_is_required(text: str) -> None:
    assert binaries.kubernetes_version(text) == "1.2.3"


def test_a_module_without_kubernetes_is_an_error() -> None:
    with pytest.raises(ProviderError, match="requires no release"):
        binaries.kubernetes_version("require k8s.io/api v0.35.4\n")


@pytest.mark.parametrize(
    ("version", "enough"),
    [("go1.24.9", False), ("go1.25", True), ("go1.25.3", True), ("go1.26rc1", True), ("go2.0", True), ("devel", False)],
)
def test_only_a_new_enough_go_is_taken(version: str, *, enough: bool) -> None:
    assert binaries.new_enough(version) is enough


def test_what_is_there_is_not_built_again(tmp_path: Path) -> None:
    binaries.folder(tmp_path).mkdir(parents=True)
    assert binaries.provide(tmp_path) == binaries.folder(tmp_path)


def test_no_go_on_the_path_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "environment", lambda: {"PATH": str(tmp_path)})
    assert binaries.system_go() is None
