"""Kubernetes manifests of other projects, out of their Go modules: what the examples for them are checked against."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from integration.cluster import binaries
from integration.cluster.cache import digest, once
from integration.cluster.command import call
from integration.cluster.progress import step

MODULES = {
    "prometheus-operator": (
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "example/prometheus-operator-crd",
    ),
    "keda": ("github.com/kedacore/keda/v2@v2.20.2", "config"),
}
"""By project: the module, and the folder in it."""


def folder(cache: Path) -> Path:
    """Where the manifests are, or will be: a folder for each project."""
    return cache / "definitions" / digest(json.dumps(MODULES))


def provide(cache: Path) -> Path:
    """Return the folder with the manifests, downloading the modules first where it is missing.

    Raises:
        ProviderError: no Go, or no module, could be had.
    """
    return once(folder(cache), lambda target: _download(target, cache=cache))


def service_monitor(cache: Path) -> Path:
    """The definition of the Prometheus Operator's ServiceMonitor."""
    return folder(cache) / "prometheus-operator" / "monitoring.coreos.com_servicemonitors.yaml"


def keda(cache: Path) -> Path:
    """KEDA's kustomizations: `crd` has its definitions, `minimal` all but its webhooks."""
    return folder(cache) / "keda"


def _download(target: Path, *, cache: Path) -> None:
    go = binaries.provide_go(cache)
    target.mkdir()
    with step("Downloading the manifests of other projects out of their Go modules"):
        for project, (module, inside) in MODULES.items():
            told = call([go, "mod", "download", "-json", module], cwd=target)
            # Files of Go's module cache can't be written, so copies of them couldn't be removed.
            shutil.copytree(Path(json.loads(told)["Dir"]) / inside, target / project, copy_function=shutil.copyfile)
            for entry in (target / project, *(target / project).rglob("*/")):
                entry.chmod(0o755)
