"""The kubectl of a k3s container, for a machine that has none: a Linux machine that runs Docker can run it, too."""

from __future__ import annotations

import platform
import shutil
import sys
import tarfile
import tempfile
from typing import TYPE_CHECKING, Any

from integration.cluster.cache import digest, once
from integration.cluster.command import environment
from integration.cluster.provider import ProviderError

if TYPE_CHECKING:
    from pathlib import Path

# One static program, which is kubectl where it is called so.
_PROGRAM = "/bin/k3s"


def obstacle() -> str:
    """Why there would be no kubectl, where Docker alone doesn't bring one; empty where there will be."""
    if _can_run_it() or shutil.which("kubectl", path=environment()["PATH"]) is not None:
        return ""
    return "kubectl is not on the PATH; install it first (k3s has one only for Linux)"


def folder(cache: Path, *, image: str) -> Path | None:
    """Where the kubectl of an image is, or will be; None where this machine uses its own."""
    return cache / "kubectl" / digest(image, platform.machine()) if _can_run_it() else None


def provide(cache: Path, *, image: str, container: Any) -> None:
    """Take kubectl out of a container of the image, where that was not done before.

    Raises:
        ProviderError: it isn't there.
    """
    if (target := folder(cache, image=image)) is not None:
        once(target, lambda made: _take(container, made))


def _can_run_it() -> bool:
    return sys.platform == "linux"


def _take(container: Any, target: Path) -> None:
    target.mkdir()
    pieces, _ = container.get_archive(_PROGRAM)
    with tempfile.TemporaryFile() as archive:
        archive.writelines(pieces)
        archive.seek(0)
        with tarfile.open(fileobj=archive) as tar:
            program = tar.extractfile(next(iter(tar)))
            if program is None:
                raise ProviderError(f"{_PROGRAM} in the k3s container is no program")
            with (target / "kubectl").open("wb") as file:
                shutil.copyfileobj(program, file)
    (target / "kubectl").chmod(0o755)
