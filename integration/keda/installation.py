"""Builds KEDA and installs it as its own manifests have it, but for the image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from integration.cluster import binaries, definitions
from integration.cluster.cache import digest, once
from integration.cluster.command import bound, call
from integration.cluster.progress import step
from integration.cluster.provider import ProviderError
from integration.cluster.static_images import write_archive
from integration.kube import overlay

if TYPE_CHECKING:
    from integration.cluster.provider import Provider

MODULE = Path(__file__).with_name("binaries")
"""The Go module whose tool lines name KEDA's programs."""

NAMESPACE = "keda"
DEPLOYMENTS = ("keda-operator", "keda-metrics-apiserver")
_API_SERVICE = "v1beta1.external.metrics.k8s.io"
_PROGRAMS = {"keda": "operator", "keda-adapter": "adapter"}
"""The names that KEDA's manifests know its programs by, and those of their packages."""


def install(provider: Provider, cache: Path) -> None:
    """Install KEDA's operator and metrics adapter on a cluster that is up, and wait until both are ready.

    Its admission webhooks are left out: they only check what a user applies.

    Raises:
        ProviderError: it could not be built, or does not get ready.
    """
    archive = _image(cache)
    manifests = definitions.provide(cache) / "keda" / "minimal"
    with step("Installing KEDA"):
        provider.load(str(archive))
        changes = [
            {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": _reference(archive)},
            {"op": "replace", "path": "/spec/template/spec/containers/0/imagePullPolicy", "value": "IfNotPresent"},
        ]
        with overlay(manifests, patches=[{"target": {"kind": "Deployment"}, "patch": json.dumps(changes)}]) as folder:
            _kubectl(provider, "apply", "--server-side", "--force-conflicts", f"--kustomize={folder}")
        for deployment in DEPLOYMENTS:
            name = f"deployment/{deployment}"
            _kubectl(provider, "rollout", "status", name, f"--namespace={NAMESPACE}", "--timeout=180s")
        _kubectl(provider, "wait", "--for=condition=Available", f"apiservice/{_API_SERVICE}", "--timeout=60s")


def _kubectl(provider: Provider, *arguments: str) -> None:
    if provider.run(["kubectl", *arguments]):
        raise ProviderError(f"failed: kubectl {' '.join(arguments)}")


def _image(cache: Path) -> Path:
    """The archive with both programs, built first where it is missing."""
    key = digest((MODULE / "go.mod").read_bytes(), (MODULE / "go.sum").read_bytes())
    file = cache / "images" / "keda" / f"{key}.tar"
    file.parent.mkdir(parents=True, exist_ok=True)
    return once(file, lambda target: _build(target, cache=cache, key=key))


def _reference(archive: Path) -> str:
    return f"localhost/keda:{archive.stem}"


def _build(target: Path, *, cache: Path, key: str) -> None:
    go = binaries.provide_go(cache)
    programs = target.with_name("programs")
    env = {"GOBIN": str(programs), "CGO_ENABLED": "0"}
    with step("Building KEDA from its Go modules (20 to 40 min the first time)"):
        call(bound([go, "install", "-ldflags", "-s -w", "tool"]), cwd=MODULE, env=env)
    files = {name: programs / program for name, program in _PROGRAMS.items()}
    write_archive(target, reference=f"localhost/keda:{key}", programs=files, settings={"User": "1000:1000"})
