"""Images of nothing but static programs, written as docker archives without any builder."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from typing import TYPE_CHECKING, Any

from integration.cluster.node_plan import PAUSE_IMAGE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write_pause_archive(target: Path, *, busybox: Path) -> None:
    """Pack the image that holds a pod's namespaces open: one program that sleeps."""
    entrypoint = ["/busybox", "sleep", "2147483647"]
    write_archive(target, reference=PAUSE_IMAGE, programs={"busybox": busybox}, settings={"Entrypoint": entrypoint})


def write_archive(
    target: Path, *, reference: str, programs: Mapping[str, Path], settings: Mapping[str, Any] | None = None
) -> None:
    """Pack an image.

    Args:
        target: the archive.
        reference: the image's name and tag.
        programs: files of this machine by their names in the image's root folder.
        settings: such as `Entrypoint`, as the image specification's `config` has them.
    """
    layer = target.with_name(f"{target.name}.layer")
    with tarfile.open(layer, mode="w") as tar:
        for name, program in programs.items():
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = 0o755, program.stat().st_size
            with program.open("rb") as content:
                tar.addfile(entry, content)
    with layer.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    config = {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": dict(settings or {}),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [reference], "Layers": ["layer.tar"]}]
    with tarfile.open(target, mode="w") as tar:
        for name, data in (("manifest.json", json.dumps(manifest)), ("config.json", json.dumps(config))):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data.encode()))
        tar.add(layer, arcname="layer.tar")
    layer.unlink()
