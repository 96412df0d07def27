"""What the local node needs of the machine: Debian packages, installed or unpacked into the cache."""

from __future__ import annotations

import platform
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from integration.cluster.cache import digest, lock, once
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
_SCRIPTS = Path("/usr/share/debootstrap/scripts")
_OLDEST_PYTHON = (3, 11)
_LOCKED_SECONDS = 300
_LOCKED_TICK = 2.0
_FOLDERS = ("usr/bin", "usr/sbin", "bin", "sbin", "usr/lib/cni", "usr/libexec/cni", "opt/cni/bin")


@dataclass(frozen=True)
class Host:
    """What was found out about this machine.

    Attributes:
        codename: the distribution's release name, for debootstrap (`bookworm`); empty where it has none.
        components: the parts of the distribution beside its main one that have packages for the images.
        apt: whether packages can be installed and unpacked.
        install: the packages that are to be installed.
        unpack: the packages that are to be unpacked into `unpacked`.
        unpacked: the folder in the cache with the unpacked packages.
        missing: the programs that can't be had; empty where `apt` is true.
    """

    codename: str
    components: tuple[str, ...]
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
    try:
        release = platform.freedesktop_os_release()
    except OSError:  # it has no such file
        release = {}
    # A derived distribution names the release that it is made of, too, which is the one that debootstrap knows.
    names = ("UBUNTU_CODENAME", "DEBIAN_CODENAME", "VERSION_CODENAME")
    codename = next((release[name] for name in names if release.get(name)), "")
    ubuntu = "UBUNTU_CODENAME" in release or release.get("ID") == "ubuntu"
    components = ("universe",) if ubuntu else ()  # that has python3-venv
    apt = all(_which(program) for program in ("apt-get", "dpkg-query", "dpkg-deb"))
    key = digest(release.get("ID", ""), codename, platform.machine(), *_UNPACKED)
    unpacked = cache / "packages" / key
    if apt:
        install = tuple(package for package in _INSTALLED if not _is_installed(package))
        unpack = () if unpacked.exists() else tuple(_UNPACKED)
        return Host(codename, components, apt, install, unpack, unpacked, missing=())
    programs = [*filter(None, _INSTALLED.values()), *_UNPACKED.values()]
    missing = tuple(name for name in programs if not (_which(name) or _in_folders(name)))
    return Host(codename, components, apt, (), (), unpacked, missing)


def obstacle(host: Host) -> str:
    """Why images can't be made of this machine's distribution; empty where nothing is known that is in the way."""
    if not host.codename:
        return "this distribution has no release name, by which debootstrap could make a small system for the images"
    if not _knows_release(host.codename):
        return f"debootstrap can't make a small system for the images: it knows no release {host.codename}"
    if (version := _python_version()) and version < _OLDEST_PYTHON:
        ours, theirs = (".".join(map(str, numbers)) for numbers in (_OLDEST_PYTHON, version))
        return f"the images would have this distribution's Python {theirs}, and the operator needs {ours}"
    return ""


def provide(host: Host, *, cache: Path) -> None:
    """Install and unpack what is wanted; one process at a time does.

    Raises:
        ProviderError: a package can't be had, or the machine has no apt and lacks something, or isn't one to use.
    """
    if host.missing:
        raise ProviderError(f"without apt these must be installed by hand: {', '.join(host.missing)}")
    if host.install or host.unpack:
        with lock(cache / "locks" / "apt"):
            _provide(inspect(cache))  # another process may have done it meanwhile
    if reason := obstacle(host):  # the package lists, or debootstrap, may only now be there to tell
        raise ProviderError(reason)


def _provide(host: Host) -> None:
    if not host.install and not host.unpack:
        return
    with step("Refreshing the package lists"):
        _apt_get("update")
    if host.install:
        with step(f"Installing {' '.join(host.install)}"):
            _apt_get("install", "--yes", "--no-install-recommends", *host.install)
    if host.unpack:
        with step(f"Unpacking {' '.join(host.unpack)} into the cache"):
            once(host.unpacked, lambda target: _unpack(host.unpack, target))


def _apt_get(*arguments: str, cwd: Path | None = None) -> None:
    """Run apt-get, patiently: unattended upgrades and others hold its locks for a while."""
    deadline = time.monotonic() + _LOCKED_SECONDS
    while True:
        try:
            call(["apt-get", f"--option=DPkg::Lock::Timeout={_LOCKED_SECONDS}", *arguments], cwd=cwd, env=_QUIET)
        except ProviderError as error:
            # The option is not for the lock of the package lists.
            if "Could not get lock" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_LOCKED_TICK)
        else:
            return


_QUIET: Mapping[str, str] = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}


def _knows_release(codename: str) -> bool:
    """Whether debootstrap can make such a system, as far as can be told before it is installed."""
    return not _SCRIPTS.is_dir() or (_SCRIPTS / codename).exists()


def _python_version() -> tuple[int, int] | None:
    """The version of the distribution's Python, as far as the package lists know it."""
    try:
        told = call(["apt-cache", "policy", "python3"], env=_QUIET)
    except ProviderError:
        return None
    match = re.search(r"Candidate: (?:\d+:)?(\d+)\.(\d+)", told)
    return (int(match[1]), int(match[2])) if match else None


def _unpack(packages: tuple[str, ...], target: Path) -> None:
    downloads = target.with_name("downloads")
    downloads.mkdir()
    _apt_get("download", *packages, cwd=downloads)
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
