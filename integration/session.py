"""One test session on a cluster that others may be using, too: its name, its namespaces and its operator.

The operator of the session is installed through `deploy/all-namespaces`, but told by name which namespaces to look
after. With `--all-namespaces` it would share Clusters with other operators: with those that some tests run themselves
in order to stop or kill them, with the demo's, and on a cluster of somebody's own with theirs. Two operators may not
look after one Cluster, since their calls to its scheduler would overlap. So each test's namespaces are known by the
test's name before the first test runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from integration.cluster import existing
from integration.cluster.cache import once
from integration.cluster.choice import select
from integration.cluster.paths import Paths
from integration.cluster.provider import Images
from integration.kube import CLUSTERS, OPERATOR_LABEL, Kube, Manifest, overlay

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CHECKOUT = Path(__file__).resolve().parents[1]
FOLDER_VARIABLE = "DASK_K8S_TEST_SESSION"
SESSION_LABEL = "dask-k8s-operator.test-session"

_SLUG_LENGTH = 36  # of 63 in all
_REFUSED = re.compile(r'User "system:serviceaccount:[^"]*" cannot .*')


@dataclass(frozen=True)
class Session:
    """What the processes of one pytest session share: a folder, after which everything in the cluster is named."""

    folder: Path

    @classmethod
    def begin(cls) -> Self:
        """Join the session that the environment names; where it names none, begin one, for child processes, too."""
        if FOLDER_VARIABLE not in os.environ:
            os.environ[FOLDER_VARIABLE] = tempfile.mkdtemp(prefix="dask-k8s-test-")
        return cls(Path(os.environ[FOLDER_VARIABLE]))

    @property
    def name(self) -> str:
        """The name: the beginning of its namespaces', and the name of the operator's."""
        return "it-" + hashlib.sha256(self.folder.name.encode()).hexdigest()[:5]

    def namespace(self, test: str) -> str:
        """The namespace of a test.

        Args:
            test: the test's node id.
        """
        readable = re.sub(r"[^a-z0-9]+", "-", test.rpartition("::")[2].lower().removeprefix("test_"))
        return f"{self.name}-{readable[:_SLUG_LENGTH].strip('-')}-{hashlib.sha256(test.encode()).hexdigest()[:4]}"

    def images(self) -> Images:
        """The images under test, built and loaded by the first process that asks: all test the same code."""
        return Images(**self._once("images", lambda: asdict(select().images())))

    def define(self) -> None:
        """Bring the CustomResourceDefinition up to date. It stays at the end: with it, all Clusters would go."""
        self._once("definition", _define)

    def operator(self, images: Images, namespaces: Sequence[str]) -> InstalledOperator:
        """The session's operator, installed by the first process that asks, for these namespaces.

        Call `define` before.
        """
        self._once("operator", lambda: _install(self, images.operator, namespaces))
        return InstalledOperator(Kube(self.name), deployment=f"dask-operator-{self.name}")

    def end(self) -> None:
        """Remove what is left of the session in the cluster, without waiting for it to be gone."""
        if (self.folder / "operator").exists():
            kube = Kube(self.name)
            kube.run("delete", "clusterroles,clusterrolebindings", f"--selector={SESSION_LABEL}={self.name}")
            kube.run("delete", "namespaces", f"--selector={SESSION_LABEL}={self.name}", "--wait=false")
        shutil.rmtree(self.folder)
        del os.environ[FOLDER_VARIABLE]

    def _once(self, name: str, make: Callable[[], Manifest]) -> Manifest:
        found: Manifest = json.loads(
            once(self.folder / name, lambda path: path.write_text(json.dumps(make()))).read_text()
        )
        return found


@dataclass(frozen=True)
class InstalledOperator:
    """An operator that runs in the cluster.

    Attributes:
        kube: its namespace.
        deployment: its Deployment's name.
    """

    kube: Kube
    deployment: str

    def log(self) -> str:
        """All that it has said."""
        return self.kube.logs(f"deployment/{self.deployment}", "--tail=-1")

    def refusals(self) -> list[str]:
        """What the API server refused it for want of a permission; quotas and policies, which tests set, left out."""
        return _REFUSED.findall(self.log())

    def restarts(self) -> int:
        """How often its container ended and was started again."""
        column = "--output=jsonpath={.items[*].status.containerStatuses[*].restartCount}"
        return sum(map(int, self.kube.run("get", "pods", f"--selector={OPERATOR_LABEL}", column).split()))


def _define() -> Manifest:
    kube = Kube("default")
    kube.run("apply", f"--filename={CHECKOUT / 'deploy' / 'base' / 'crd.yaml'}")
    kube.wait_established(CLUSTERS)
    return {}


def _install(session: Session, image: str, namespaces: Sequence[str]) -> dict[str, str]:
    arguments = ["run", "--lease=dask-operator", *(f"--namespace={namespace}" for namespace in namespaces)]
    labels = {SESSION_LABEL: session.name}
    ours = {**labels, existing.CHECKOUT_LABEL: Paths.here().key}
    patches = [
        _replace("Deployment", "/spec/template/spec/containers/0/args", arguments),
        *(add_labels(kind, ours) for kind in ("ClusterRole", "ClusterRoleBinding", "Namespace")),
    ]
    folder = CHECKOUT / "deploy" / "all-namespaces"
    kube = Kube(session.name)
    with overlay(
        folder,
        namespace=session.name,
        name_suffix=f"-{session.name}",
        images={"dask-k8s-operator": image},
        patches=patches,
    ) as kustomization:
        kube.apply_kustomization(kustomization)
    kube.run("rollout", "status", f"deployment/dask-operator-{session.name}", "--timeout=80s")
    return {}


def _replace(kind: str, path: str, value: object) -> Manifest:
    return {"target": {"kind": kind}, "patch": json.dumps([{"op": "replace", "path": path, "value": value}])}


def add_labels(kind: str, labels: dict[str, str]) -> Manifest:
    """A patch for kustomize that puts labels on all objects of a kind, which have some already."""
    changes = [
        {"op": "add", "path": f"/metadata/labels/{key.replace('/', '~1')}", "value": value}
        for key, value in labels.items()
    ]
    return {"target": {"kind": kind}, "patch": json.dumps(changes)}
