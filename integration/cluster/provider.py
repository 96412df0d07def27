"""What the tests and the demo need of a Kubernetes cluster, whoever provides it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from integration.cluster import hints

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Verdict:
    """Whether a provider can be used here, and why; the reason is one line for a person."""

    usable: bool
    reason: str


@dataclass(frozen=True)
class Images:
    """The references of the two images, as a pod spec names them, present on every node."""

    operator: str
    dask: str


class ProviderError(Exception):
    """The cluster can't be had; the message says what is wrong and what to do about it."""


def not_up() -> ProviderError:
    """The error of what needs a cluster that is up."""
    return ProviderError(f"the cluster is not up; this brings it up: {hints.cluster('up')}")


class Provider(Protocol):
    """One way to get a cluster. Every method may be called again at any time, also after a crash."""

    name: str

    def verdict(self) -> Verdict:
        """Look whether this provider can be used here; starts and changes nothing."""

    def up(self) -> None:
        """Bring the cluster up and wait until it is ready; does nothing where it already is.

        Raises:
            ProviderError: it did not come up.
        """

    def down(self) -> None:
        """Take away everything that `up` made; does nothing where nothing is left."""

    def running(self) -> bool:
        """Whether the cluster is up and its API server answers."""

    def kubeconfig(self) -> Path:
        """The file to use as KUBECONFIG (inside `run` where the network is a private one)."""

    def images(self) -> Images:
        """Build the operator's and the Dask image from this checkout where needed, and load them."""

    def load(self, image: str) -> None:
        """Load an image, a reference known to the local builder or the path of a docker archive."""

    def run(self, command: Sequence[str]) -> int:
        """Run a command with KUBECONFIG set and the cluster's network and DNS reachable.

        Returns:
            The command's exit status.
        """
