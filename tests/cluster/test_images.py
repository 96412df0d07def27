"""What names an image, and what its build sees."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from integration.cluster import images
from integration.cluster.images import Builder, Image, dask_image, operator_image
from integration.cluster.paths import Paths
from integration.cluster.provider import ProviderError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    checkout = tmp_path / "checkout"
    (checkout / "dask_k8s_operator" / "__pycache__").mkdir(parents=True)
    for name in ("Dockerfile", "pyproject.toml", "README.md", "LICENSE", "dask_k8s_operator/cli.py"):
        (checkout / name).write_text(name)
    (checkout / "dask_k8s_operator" / "__pycache__" / "cli.pyc").touch()
    (checkout / "noxfile.py").touch()
    return checkout


def test_the_operators_build_sees_what_its_dockerfile_copies_and_nothing_else(checkout: Path) -> None:
    names = [str(file.relative_to(checkout)) for file in operator_image(checkout).files]
    assert names == ["Dockerfile", "LICENSE", "README.md", "dask_k8s_operator/cli.py", "pyproject.toml"]


def test_the_name_changes_with_the_sources_and_with_the_base(checkout: Path) -> None:
    builder = Builder(checkout.parent, codename="bookworm")
    first = builder.planned(operator_image(checkout))
    assert builder.planned(operator_image(checkout)) == first
    assert Builder(checkout.parent, codename="trixie").planned(operator_image(checkout)).reference != first.reference
    (checkout / "dask_k8s_operator" / "cli.py").write_text("changed")
    assert builder.planned(operator_image(checkout)).reference != first.reference


def test_two_checkouts_with_the_same_sources_share_an_image(checkout: Path) -> None:
    builder = Builder(checkout.parent, codename="bookworm")
    copy = shutil.copytree(checkout, checkout.parent / "copy")
    assert builder.planned(operator_image(copy)) == builder.planned(operator_image(checkout))


def test_an_archive_that_is_there_is_not_built_again(tmp_path: Path) -> None:
    builder = Builder(tmp_path, codename="bookworm")
    file = builder.planned(dask_image()).file
    file.parent.mkdir(parents=True)
    file.touch()
    assert builder.build(dask_image()).file == file


def test_sources_that_change_under_the_build_are_an_error(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = Builder(checkout.parent, codename="bookworm")

    def base_and_an_edit(_: Builder) -> str:
        (checkout / "dask_k8s_operator" / "cli.py").write_text("changed")
        return "localhost/base"

    monkeypatch.setattr(Builder, "_base", base_and_an_edit)
    monkeypatch.setattr(images, "call", lambda *_, **__: pytest.fail("was built"))
    with pytest.raises(ProviderError, match="changed while"):
        builder.build(operator_image(checkout))
    assert not builder.planned(operator_image(checkout)).file.exists()


def test_only_old_archives_of_the_same_image_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Builder, "_build", lambda _self, _image, _archive, target: target.touch())
    builder = Builder(tmp_path, codename="bookworm")
    other = builder.build(dask_image()).file
    source = tmp_path / "file"
    built = []
    for age, content in enumerate("abcde"):
        source.write_text(content)
        built.append(builder.build(Image("dask-k8s-operator", tmp_path, (source,))).file)
        os.utime(built[-1], (1000 + age, 1000 + age))  # as if it had been used long ago
    assert other.exists()
    assert built[-1].exists()
    assert sum(file.exists() for file in built) == 3


def test_pip_in_a_build_gets_this_machines_settings_and_only_those_that_are_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "PIP_CERT"):
        monkeypatch.delenv(name, raising=False)
    with images.pip_settings() as volumes:
        assert volumes == []
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.invalid/simple")
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "ca.pem"))
    with images.pip_settings() as volumes:
        certificates, settings = (volume.split(":") for volume in volumes)
        lines = (tmp_path / settings[0]).read_text().splitlines()
    assert certificates[0] == str(tmp_path / "ca.pem")
    assert lines == ["[global]", "index-url = https://index.invalid/simple", f"cert = {certificates[1]}"]


def test_this_checkout_has_all_that_the_images_are_made_of() -> None:
    names = {file.name for file in operator_image(Paths.here().checkout).files}
    assert {"Dockerfile", "pyproject.toml", "cli.py", "py.typed"} <= names
    assert {file.name for file in dask_image().files} == {"Dockerfile", "requirements.txt"}
