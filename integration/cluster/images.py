"""Builds the images with buildah, without a daemon, into archives in the cache that are named by their inputs."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from integration.cluster import host
from integration.cluster.cache import claim, digest, digest_files, lock, once
from integration.cluster.command import bound, call
from integration.cluster.progress import step
from integration.cluster.provider import ProviderError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_SOURCES = Path(__file__).resolve().parents[1] / "images"
_BASE_PACKAGES = "ca-certificates,python3,python3-venv"
# Nobody reads documentation in a container, and each pod's file system is smaller without.
_NOT_IN_BASE = ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/cache/apt", "var/lib/apt/lists", "var/log")
_KEPT_ARCHIVES = 3
_MANY_LAYERS = 400


@dataclass(frozen=True)
class Image:
    """An image that is to be built.

    Attributes:
        name: the repository, without a registry.
        folder: the root of the build context.
        files: what the build may see of it, which is what names the result.
    """

    name: str
    folder: Path
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Archive:
    """A docker archive with one image.

    Attributes:
        reference: the name that pods use.
        file: where the archive is, or will be.
        inputs: names the contents of the image's files that it is made of.
    """

    reference: str
    file: Path
    inputs: str


def dask_image() -> Image:
    """The image of schedulers, workers and clients."""
    folder = _SOURCES / "dask"
    return Image("dask", folder, _files(folder.iterdir()))


def operator_image(checkout: Path) -> Image:
    """The operator's own image: the project's Dockerfile and what it copies."""
    single = (checkout / name for name in ("Dockerfile", "pyproject.toml", "README.md", "LICENSE"))
    package = (path for path in (checkout / "dask_k8s_operator").rglob("*") if "__pycache__" not in path.parts)
    return Image("dask-k8s-operator", checkout, _files([*single, *package]))


def _files(paths: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(sorted(path for path in paths if path.is_file()))


class Builder:
    """Builds images over a base of this machine's own distribution.

    Args:
        cache: the folder for archives, the base system and buildah's storage.
        codename: the distribution's release, for debootstrap.
        components: the parts of the distribution that debootstrap is to look into besides its main one.
    """

    def __init__(self, cache: Path, *, codename: str, components: Sequence[str] = ()) -> None:
        self._cache = cache
        self._codename = codename
        self._components = tuple(components)
        recipe = (_SOURCES / "base" / "Dockerfile").read_bytes()
        inputs = (codename, *self._components, platform.machine(), _BASE_PACKAGES, *_NOT_IN_BASE)
        self._base_key = digest(recipe, *inputs)

    @classmethod
    def here(cls, cache: Path) -> Self:
        """The builder over this machine's own distribution."""
        machine = host.inspect(cache)
        return cls(cache, codename=machine.codename, components=machine.components)

    def planned(self, image: Image) -> Archive:
        """Where the image's archive is, or will be."""
        inputs = digest_files(image.folder, image.files)
        tag = digest(self._base_key, image.name, inputs)
        file = self._cache / "images" / image.name / f"{tag}.tar"
        return Archive(reference=f"localhost/{image.name}:{tag}", file=file, inputs=inputs)

    def build(self, image: Image) -> Archive:
        """Return the image's archive, built first where there is none for these inputs.

        Raises:
            ProviderError: the build failed.
        """
        archive = self.planned(image)
        # Another process may tidy up between one and the other.
        while not claim(archive.file, keep=_KEPT_ARCHIVES):
            with step(f"Building {archive.reference}"):
                once(archive.file, lambda target: self._build(image, archive, target))
        return archive

    def export(self, reference: str, target: Path) -> None:
        """Write an image that was built here by other means into a docker archive.

        Raises:
            ProviderError: the builder knows no such image.
        """
        self._buildah("push", "--quiet", reference, f"docker-archive:{target}:{reference}")

    def _build(self, image: Image, archive: Archive, target: Path) -> None:
        base = self._base()
        context = _snapshot(image, archive.inputs, target.with_name("context"))
        with pip_settings() as volumes:
            self._buildah(
                *("bud", "--quiet", "--layers", "--isolation", "chroot", "--network", "host", "--pull-never"),
                *(f"--volume={volume}" for volume in volumes),
                *("--build-arg", f"BASE={base}", "--tag", archive.reference, str(context)),
            )
        self.export(archive.reference, target)
        self._forget_older(image.name)

    def _base(self) -> str:
        reference = f"localhost/dask-k8s-base:{self._base_key}"
        rootfs = once(self._cache / "base" / self._base_key, self._make_rootfs)
        with lock(self._cache / "base.lock"):
            if not self._buildah("images", "--quiet", "--filter", f"reference={reference}").strip():
                self._buildah(
                    *("bud", "--quiet", "--isolation", "chroot", "--tag", reference),
                    *("--file", str(_SOURCES / "base" / "Dockerfile"), str(rootfs)),
                )
        return reference

    def _make_rootfs(self, target: Path) -> None:
        system = target.with_name("system")
        components = ",".join(("main", *self._components))
        arguments = ("--variant=minbase", f"--components={components}", f"--include={_BASE_PACKAGES}", self._codename)
        with step(f"Making a minimal {self._codename} system (about 2 min the first time)"):
            call(bound(["debootstrap", *arguments, system]))
            for folder in _NOT_IN_BASE:
                for path in (system / folder).glob("*"):
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            target.mkdir()
            call(["tar", "--create", "--numeric-owner", "--file", target / "rootfs.tar", "--directory", system, "."])

    def _forget_older(self, name: str) -> None:
        """Keep buildah's storage from growing with every change.

        Older images go. Layers without a name are what makes the next build quick: they stay until there are many.
        """
        newest_first = self._buildah("images", "--quiet", "--no-trunc", "--filter", f"reference=localhost/{name}")
        if older := list(dict.fromkeys(newest_first.split()))[_KEPT_ARCHIVES:]:
            self._buildah("rmi", "--force", *older)
        if len(self._buildah("images", "--all", "--quiet").split()) > _MANY_LAYERS:
            self._buildah("rmi", "--prune", "--force")

    def _buildah(self, *arguments: str) -> str:
        storage = self._cache / "buildah"
        folders = ("--root", storage / "root", "--runroot", storage / "run", "--storage-driver", "overlay")
        return call(bound(["buildah", *folders, *arguments]))


def _snapshot(image: Image, inputs: str, context: Path) -> Path:
    """Copy what the build may see, and make sure that it is what the image is named after."""
    copies = []
    for file in image.files:
        copies.append(context / file.relative_to(image.folder))
        copies[-1].parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copies[-1])
    if digest_files(context, copies) != inputs:
        raise ProviderError(f"{image.folder} changed while it was read; run this again")
    return context


@contextmanager
def pip_settings() -> Iterator[list[str]]:
    """Volumes that let pip in a build reach what pip on this machine reaches, and leave nothing in the image.

    A volume rather than variables: buildah would write those into the image.
    """
    settings = {
        "index-url": "PIP_INDEX_URL",
        "extra-index-url": "PIP_EXTRA_INDEX_URL",
        "timeout": "PIP_DEFAULT_TIMEOUT",
    }
    lines = [f"{name} = {os.environ[variable]}" for name, variable in settings.items() if os.environ.get(variable)]
    with tempfile.TemporaryDirectory() as folder:
        volumes = []
        if certificates := os.environ.get("PIP_CERT"):
            inside = "/etc/ssl/certs/build.pem"
            volumes.append(f"{Path(certificates).resolve()}:{inside}:ro")
            lines.append(f"cert = {inside}")
        if lines:
            file = Path(folder) / "pip.conf"
            file.write_text("\n".join(["[global]", *lines, ""]))
            volumes.append(f"{file}:/etc/pip.conf:ro")
        yield volumes
