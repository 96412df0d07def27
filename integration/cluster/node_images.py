"""Brings images into the local node's container runtime."""

from __future__ import annotations

import json
import tarfile
import time
from typing import TYPE_CHECKING

from integration.cluster.command import call
from integration.cluster.node_plan import CONTAINERD
from integration.cluster.provider import ProviderError

if TYPE_CHECKING:
    from pathlib import Path

    from integration.cluster.node import Node

_SEEN_SECONDS = 15.0
_TICK = 0.05
# The runtime's Kubernetes side sets it on the images that it knows of.
_KNOWN = 'labels."io.cri-containerd.image"==managed'


class NodeImages:
    """The images of a running node.

    Args:
        node: the node, whose network and mounts are entered.
        ctr: containerd's command line tool.
    """

    def __init__(self, node: Node, *, ctr: Path) -> None:
        self._node = node
        self._ctr = (str(ctr), f"--address={CONTAINERD}", "--namespace=k8s.io")

    def has(self, reference: str) -> bool:
        """Whether pods can be started from an image."""
        return reference in self._call("images", "ls", "--quiet", _KNOWN).split()

    def load(self, archive: Path) -> None:
        """Import a docker archive; pods can be started from its images once this returns.

        Raises:
            ProviderError: it is no such archive, or the runtime does not take it.
        """
        references = archived_references(archive)
        self._call("images", "import", str(archive))
        deadline = time.monotonic() + _SEEN_SECONDS
        # The import has only told the runtime; the kubelet would find no such image for a moment yet.
        while missing := [reference for reference in references if not self.has(reference)]:
            if time.monotonic() > deadline:
                raise ProviderError(f"imported, but not to be seen by Kubernetes: {', '.join(missing)}")
            time.sleep(_TICK)

    def _call(self, *arguments: str) -> str:
        return call(self._node.entering([*self._ctr, *arguments], mounts=True))


def archived_references(archive: Path) -> list[str]:
    """Read which images a docker archive holds.

    Raises:
        ProviderError: it is no docker archive, or its images have no name.
    """
    try:
        with tarfile.open(archive) as tar:
            member = tar.extractfile("manifest.json")
            manifests = json.load(member) if member else []
    except (OSError, KeyError, ValueError, tarfile.TarError) as error:
        raise ProviderError(f"{archive} is no docker archive: {error}") from error
    references = [name for manifest in manifests for name in manifest.get("RepoTags") or ()]
    if not references:
        raise ProviderError(f"{archive} names no image; save it by its name, not by its id")
    return references
