"""What the local node needs of the machine: Debian packages, installed or unpacked into the cache."""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from integration.cluster.cache import digest, once
from integration.cluster.command import call, environment
from integration.cluster.progress import step
from integration.cluster.provider import ProviderError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Packages without services of their own: installed as usual. Each with a program that shows that it is there.
_INSTALLED = {
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "iproute2": "ip",
    "iptables": "iptables",
    "libseccomp2": "",
    "openssl": "openssl",
    "util-linux": "nsenter",
}
# Packages that would start services on installation, or replace what Docker's own packages brought: only
# unpacked, so that nothing on the machine changes. Each with a program that it has.
_UNPACKED = {
    "busybox-static": "busybox",
    "containerd": "containerd",
    "containernetworking-plugins": "ptp",
    "docker.io": "dockerd",
    "etcd-server": "etcd",
    "prometheus": "prometheus",
    "runc": "runc",
}
_FOLDERS = ("usr/bin", "usr/sbin", "bin", "sbin", "usr/lib/cni", "usr/libexec/cni", "opt/cni/bin")


@dataclass(frozen=True)
class Host:
    """What was found out about this machine.

    Attributes:
        codename: the distribution's release name, for debootstrap (`bookworm`).
        apt: whether packages can be installed and unpacked.
        install: the packages that are to be installed.
        unpack: the packages that are to be unpacked into `unpacked`.
        unpacked: the folder in the cache with the unpacked packages.
        missing: the programs that can't be had; empty where `apt` is true.
    """

    codename: str
    apt: bool
    install: tuple[str, ...]
    unpack: tuple[str, ...]
    unpacked: Path
    missing: tuple[str, ...]

    def program(self, name: str) -> Path:
        """Where a program from one of the unpacked packages is.

        Raises:
            ProviderError: it is nowhere.
        """
        for root in (self.unpacked, Path("/")):
            for folder in _FOLDERS:
                if (found := root / folder / name).exists():
                    return found
        raise ProviderError(f"{name} is missing; install it, or remove {self.unpacked} to have it unpacked again")


def inspect(cache: Path) -> Host:
    """Look at the machine; changes nothing."""
    release = platform.freedesktop_os_release()
    codename = release.get("VERSION_CODENAME", "")
    apt = all(_which(program) for program in ("apt-get", "dpkg-query", "dpkg-deb"))
    key = digest(release.get("ID", ""), codename, platform.machine(), *_UNPACKED)
    unpacked = cache / "packages" / key
    if apt:
        install = tuple(package for package in _INSTALLED if not _is_installed(package))
        unpack = () if unpacked.exists() else tuple(_UNPACKED)
        return Host(codename, apt, install, unpack, unpacked, missing=())
    programs = [*filter(None, _INSTALLED.values()), *_UNPACKED.values()]
    missing = tuple(name for name in programs if not (_which(name) or _in_folders(name)))
    return Host(codename, apt, (), (), unpacked, missing)


def provide(host: Host) -> None:
    """Install and unpack what is wanted.

    Raises:
        ProviderError: a package can't be had, or the machine has no apt and lacks something.
    """
    if host.missing:
        raise ProviderError(f"without apt these must be installed by hand: {', '.join(host.missing)}")
    if not host.install and not host.unpack:
        return
    with step("Refreshing the package lists"):
        call(["apt-get", "update"], env=_QUIET)
    if host.install:
        with step(f"Installing {' '.join(host.install)}"):
            call(["apt-get", "install", "--yes", "--no-install-recommends", *host.install], env=_QUIET)
    if host.unpack:
        with step(f"Unpacking {' '.join(host.unpack)} into the cache"):
            once(host.unpacked, lambda target: _unpack(host.unpack, target))


_QUIET: Mapping[str, str] = {"DEBIAN_FRONTEND": "noninteractive"}


def _unpack(packages: tuple[str, ...], target: Path) -> None:
    downloads = target.with_name("downloads")
    downloads.mkdir()
    call(["apt-get", "download", *packages], cwd=downloads, env=_QUIET)
    target.mkdir()
    for package in sorted(downloads.glob("*.deb")):
        call(["dpkg-deb", "--extract", package, target])


def _is_installed(package: str) -> bool:
    try:
        return call(["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]) == "installed"
    except ProviderError:
        return False


def _which(program: str) -> bool:
    return shutil.which(program, path=environment()["PATH"]) is not None


def _in_folders(program: str) -> bool:
    return any((Path("/") / folder / program).exists() for folder in _FOLDERS)
