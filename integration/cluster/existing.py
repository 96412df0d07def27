"""A cluster of the user's own, used only when asked for and only in namespaces made for the purpose."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from integration.cluster import foreground
from integration.cluster.command import call, environment
from integration.cluster.progress import say, step
from integration.cluster.provider import Images, ProviderError, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from integration.cluster.paths import Paths

CHECKOUT_LABEL = "dask-k8s-operator.test-cluster"
"""On every namespace that the tests and the demo make, and on what is in none, except the CustomResourceDefinition; its
value is the key of the checkout's cluster."""

OPERATOR_IMAGE_VARIABLE = "DASK_K8S_TEST_OPERATOR_IMAGE"
DASK_IMAGE_VARIABLE = "DASK_K8S_TEST_DASK_IMAGE"

_ANSWER_SECONDS = 10
_REMOVAL_SECONDS = 600  # a namespace goes when its pods' grace periods are over
_DEFINITION = ("customresourcedefinitions.apiextensions.k8s.io", "clusters.dask.charmtx.com")
_OURS = "namespaces,clusterroles,clusterrolebindings,priorityclasses"
# What the tests and the demo do: one right a line.
_RIGHTS = (
    ("create", "namespaces"),
    ("delete", "namespaces"),
    ("patch", "customresourcedefinitions.apiextensions.k8s.io"),
    ("create", "clusters.dask.charmtx.com"),
    ("create", "pods"),
    ("create", "pods/exec"),
    ("create", "pods/eviction"),
    ("create", "services"),
    ("create", "services/proxy"),
    ("create", "serviceaccounts"),
    ("create", "deployments.apps"),
    ("create", "poddisruptionbudgets.policy"),
    ("create", "horizontalpodautoscalers.autoscaling"),
    ("create", "leases.coordination.k8s.io"),
    ("create", "priorityclasses.scheduling.k8s.io"),
    ("delete", "priorityclasses.scheduling.k8s.io"),
    ("create", "roles.rbac.authorization.k8s.io"),
    ("create", "rolebindings.rbac.authorization.k8s.io"),
    ("create", "clusterroles.rbac.authorization.k8s.io"),
    ("delete", "clusterroles.rbac.authorization.k8s.io"),
    ("create", "clusterrolebindings.rbac.authorization.k8s.io"),
    ("delete", "clusterrolebindings.rbac.authorization.k8s.io"),
)


def namespace(name: str, *, paths: Paths) -> dict[str, Any]:
    """The manifest of a namespace that `Existing.down` removes."""
    metadata = {"name": name, "labels": {CHECKOUT_LABEL: paths.key}}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


class Existing:
    """A cluster that is there already and stays.

    Args:
        paths: whose namespaces are ours.
        kubeconfig: leads to the cluster, by its current context.
    """

    name = "existing"

    def __init__(self, paths: Paths, kubeconfig: Path) -> None:
        self._paths = paths
        self._kubeconfig = kubeconfig

    def verdict(self) -> Verdict:
        """Whether there is kubectl, and a cluster that answers it."""
        if not self._kubeconfig.is_file():
            return Verdict(usable=False, reason=f"there is no kubeconfig {self._kubeconfig}")
        if shutil.which("kubectl", path=environment()["PATH"]) is None:
            return Verdict(usable=False, reason="kubectl is not on the PATH; install it first")
        try:
            self._ask_version()
        except ProviderError as error:
            return Verdict(usable=False, reason=f"its API server does not answer: {str(error).splitlines()[-1]}")
        return Verdict(usable=True, reason=f"{self._kubeconfig} asks for it, and it answers")

    def up(self) -> None:
        """Check that the cluster answers and grants what the tests do; changes nothing.

        Raises:
            ProviderError: it does not answer, or refuses something; the message says what.
        """
        self._ask_version()
        with ThreadPoolExecutor(max_workers=4) as pool:
            granted = list(pool.map(self._may, _RIGHTS))
        if denied := [" ".join(right) for right, may in zip(_RIGHTS, granted, strict=True) if not may]:
            raise ProviderError(
                f"the user of {self._kubeconfig} may not, in every namespace: {', '.join(denied)}; "
                "use the kubeconfig of an administrator"
            )
        if self._kubectl("get", *_DEFINITION, "--ignore-not-found", "--output=name").strip():
            say(
                f"{_DEFINITION[1]} is defined there already: the definition of this checkout takes its place, and stays"
            )

    def down(self) -> None:
        """Remove what was made from this checkout: namespaces with all that is in them, and what is in none.

        The CustomResourceDefinition stays: with it, all Clusters would go.

        Raises:
            ProviderError: they did not go, or the cluster does not answer.
        """
        ours = f"--selector={CHECKOUT_LABEL}={self._paths.key}"
        if self._kubectl("get", _OURS, ours, "--output=name").strip():
            with step("Removing our namespaces"):
                self._kubectl("delete", _OURS, ours, f"--timeout={_REMOVAL_SECONDS}s")

    def running(self) -> bool:
        """Whether its API server answers."""
        try:
            self._ask_version()
        except ProviderError:
            return False
        return True

    def kubeconfig(self) -> Path:
        """The user's own."""
        return self._kubeconfig

    def images(self) -> Images:
        """The images that the environment names: which registry the cluster can reach only its user knows.

        Raises:
            ProviderError: a variable is not set.
        """
        names = (OPERATOR_IMAGE_VARIABLE, DASK_IMAGE_VARIABLE)
        if unset := [name for name in names if not os.environ.get(name)]:
            raise ProviderError(
                f"set {' and '.join(unset)}: build the images from Dockerfile and integration/images/dask, "
                "push them to where the cluster pulls from, and name them there"
            )
        return Images(operator=os.environ[OPERATOR_IMAGE_VARIABLE], dask=os.environ[DASK_IMAGE_VARIABLE])

    def load(self, image: str) -> None:
        """Refuse: the nodes of a cluster of the user's own are not ours to change.

        Raises:
            ProviderError: always.
        """
        raise ProviderError(
            f"{image} can't be loaded into an existing cluster: push it to where the cluster pulls from"
        )

    def run(self, command: Sequence[str]) -> int:
        """Run a command outside the cluster, where the names of Services are not known.

        Raises:
            ProviderError: there is no such command.
        """
        return foreground.run_outside(command, kubeconfig=self._kubeconfig)

    def _ask_version(self) -> None:
        # Not /readyz, which fewer users may ask for.
        self._kubectl("get", "--raw=/version", f"--request-timeout={_ANSWER_SECONDS}s")

    def _may(self, right: tuple[str, str]) -> bool:
        verb, kind = right
        resource, _, subresource = kind.partition("/")
        # What follows a slash would be the name of an object.
        of_it = (f"--subresource={subresource}",) if subresource else ()
        # Its exit status is the same for "no" and for an error.
        try:
            return self._kubectl("auth", "can-i", verb, resource, *of_it, "--all-namespaces").strip() == "yes"
        except ProviderError:
            return False

    def _kubectl(self, *arguments: str) -> str:
        return call(["kubectl", *arguments], env={"KUBECONFIG": str(self._kubeconfig)})
