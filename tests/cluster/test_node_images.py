"""Archives of images, read and written without a container runtime."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from integration.cluster.node_images import archived_references
from integration.cluster.node_plan import PAUSE_IMAGE
from integration.cluster.provider import ProviderError
from integration.cluster.static_images import write_pause_archive

if TYPE_CHECKING:
    from pathlib import Path


def archive(path: Path, manifest: Any) -> Path:
    data = json.dumps(manifest).encode()
    with tarfile.open(path, "w") as tar:
        entry = tarfile.TarInfo("manifest.json")
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    return path


def test_the_names_of_all_images_are_read(tmp_path: Path) -> None:
    manifest = [{"RepoTags": ["localhost/a:1", "localhost/a:2"]}, {"RepoTags": None}, {"RepoTags": ["localhost/b:1"]}]
    assert archived_references(archive(tmp_path / "a.tar", manifest)) == [
        "localhost/a:1",
        "localhost/a:2",
        "localhost/b:1",
    ]


def test_an_archive_without_names_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="names no image"):
        archived_references(archive(tmp_path / "a.tar", [{"RepoTags": []}]))


def test_other_files_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    for name in ("text", "empty.tar", "missing"):
        with pytest.raises(ProviderError, match=f"{name} is no docker archive"):
            archived_references(tmp_path / name)


def test_the_pause_image_is_one_executable_file_whose_digest_fits(tmp_path: Path) -> None:
    program = tmp_path / "busybox"
    program.write_bytes(b"\x7fELF")
    write_pause_archive(tmp_path / "pause.tar", busybox=program)
    assert archived_references(tmp_path / "pause.tar") == [PAUSE_IMAGE]
    with tarfile.open(tmp_path / "pause.tar") as tar:
        files = {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]
    config = json.loads(files["config.json"])
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(files['layer.tar']).hexdigest()}"]
    with tarfile.open(fileobj=io.BytesIO(files["layer.tar"])) as layer:
        (entry,) = layer.getmembers()
    assert entry.mode & 0o111
    assert f"/{entry.name}" == config["config"]["Entrypoint"][0]
