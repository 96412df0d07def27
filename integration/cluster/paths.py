"""Where a checkout's cluster keeps its state, its cache and its names."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

CLUSTER_VARIABLE = "DASK_K8S_TEST_CLUSTER"
"""Names a further cluster of the same checkout; empty or unset: the checkout's ordinary one."""

KUBECONFIG_VARIABLE = "DASK_K8S_TEST_KUBECONFIG"
"""Names the kubeconfig of an existing cluster to use, as the option `--kubeconfig` does."""

_CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Paths:
    """The places that belong to one cluster of one checkout.

    Attributes:
        checkout: the root of the checkout that images are built from.
        key: eight hexadecimal digits that no other checkout on this machine shares.
        prefix: starts the name of everything that the cluster makes outside its folders (containers, cgroups).
        state: the running cluster's folder; gone after `down`, of no use after a reboot.
        cache: slow results, shared by all checkouts of this user, to be changed only under a lock.
    """

    checkout: Path
    key: str
    prefix: str
    state: Path
    cache: Path

    @property
    def node(self) -> Path:
        """The part of the state that a local node has: all of it is the node's, and nothing else of the node's is."""
        return self.state / "node"

    @classmethod
    def of(cls, checkout: Path, *, cluster: str = "") -> Self:
        """Derive everything from the checkout's resolved path and, for a further cluster, its name."""
        root = checkout.resolve()
        key = hashlib.sha256(f"{root}\0{cluster}".encode()).hexdigest()[:8]
        state = _xdg("XDG_STATE_HOME", ".local/state") / "dask-k8s-operator" / key
        cache = _xdg("XDG_CACHE_HOME", ".cache") / "dask-k8s-operator"
        return cls(checkout=root, key=key, prefix=f"dask-k8s-{key}", state=state, cache=cache)

    @classmethod
    def here(cls) -> Self:
        """The paths of the checkout that this file is in, and of the cluster that the environment names."""
        return cls.of(_CHECKOUT, cluster=os.environ.get(CLUSTER_VARIABLE, ""))


def _xdg(variable: str, default: str) -> Path:
    """Follow the XDG base directory specification, which has relative values ignored."""
    value = Path(os.environ.get(variable, ""))
    return value if value.is_absolute() else Path.home() / default
