"""kubectl, typed: what it prints as values, waiting for conditions, and failures that say what was going on."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from integration.cluster import existing
from integration.cluster.paths import Paths
from integration.reads import ReadError, list_objects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

Manifest = dict[str, Any]
T = TypeVar("T")

CLUSTERS = "clusters.dask.charmtx.com"
OPERATOR_LABEL = "app.kubernetes.io/name=dask-operator"

_POLL_SECONDS = 0.25
_COMMAND_SECONDS = 90.0
_LOG_LINES = 60
_WATCHED = (
    ("dask.charmtx.com/v1alpha1", "Cluster", "clusters"),
    ("v1", "Pod", "pods"),
    ("apps/v1", "Deployment", "deployments"),
    ("v1", "Service", "services"),
)
"""What `Objects` consists of: group and version, kind, and the resource in the URL."""

_ENFORCED_LABEL = "pod-security.kubernetes.io/enforce"

_SECTIONS = {
    "Clusters": ("get", CLUSTERS, "--output=yaml", "--show-managed-fields=false"),
    "objects": ("get", "pods,deployments,services,poddisruptionbudgets", "--output=wide"),
    "events": ("get", "events", "--sort-by=.metadata.creationTimestamp"),
    "schedulers' logs": ("logs", "--selector=dask.charmtx.com/role=scheduler", "--tail=30", "--prefix"),
    "workers' logs": ("logs", "--selector=dask.charmtx.com/role=worker", "--tail=5", "--prefix"),
}
"""What a person would look at, each with the arguments to kubectl that show it."""


class KubectlError(Exception):
    """kubectl failed; the message is its own.

    Attributes:
        command: what was run.
        stderr: what it said.
    """

    def __init__(self, command: Sequence[str], stderr: str) -> None:
        super().__init__(f"{' '.join(command)}: {stderr.strip()}")
        self.command = tuple(command)
        self.stderr = stderr


class NotOurs(Exception):
    """A namespace is somebody else's; it is left as it is."""


class TooLate(AssertionError):
    """A condition did not come about in time; the message has the state of the namespace and the operator's log."""


@dataclass(frozen=True)
class Objects:
    """The Clusters, pods, Deployments and Services of one namespace, as of one moment."""

    items: tuple[Manifest, ...]

    def find(self, kind: str, name: str) -> Manifest | None:
        """An object by kind and name."""
        return next((o for o in self.items if o["kind"] == kind and o["metadata"]["name"] == name), None)

    def pods(self, **labels: str) -> list[Manifest]:
        """The pods with these labels of ours, such as `cluster="a", role="worker"`."""
        wanted = {f"dask.charmtx.com/{key}": value for key, value in labels.items()}
        pods = [o for o in self.items if o["kind"] == "Pod"]
        return [pod for pod in pods if wanted.items() <= pod["metadata"].get("labels", {}).items()]


class Kube:
    """kubectl in one namespace, with the kubeconfig that the environment names."""

    def __init__(self, namespace: str) -> None:
        """Use a namespace, which need not exist yet."""
        self.namespace = namespace

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl in the namespace and return its standard output.

        Raises:
            KubectlError: it failed, or took longer than any command of ours should.
        """
        command = ["kubectl", f"--namespace={self.namespace}", *arguments]
        try:
            done = subprocess.run(
                command, input=stdin, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise KubectlError(command, f"no end after {_COMMAND_SECONDS:g} s\n{self.diagnosis()}") from error
        if done.returncode:
            raise KubectlError(command, done.stderr)
        return done.stdout

    def apply(self, *manifests: Manifest, arguments: Sequence[str] = ()) -> str:
        """Apply objects as `kubectl apply -f` does."""
        return self.run("apply", "--filename=-", *arguments, stdin=json.dumps(_list(manifests)))

    def apply_kustomization(self, folder: Path, *arguments: str) -> str:
        """Apply a folder as `kubectl apply -k` does."""
        return self.run("apply", f"--kustomize={folder}", *arguments)

    def create_namespace(self) -> None:
        """Create the namespace, where only pods within the `restricted` Pod Security Standard may run.

        Raises:
            NotOurs: there is one of this name that wasn't made so, from this checkout.
        """
        self._refuse_others()
        manifest = existing.namespace(self.namespace, paths=Paths.here())
        manifest["metadata"]["labels"][_ENFORCED_LABEL] = "restricted"
        # On the server's side, or else `kubectl apply` of a kustomization with this namespace would take our label off.
        self.apply(manifest, arguments=("--server-side", "--force-conflicts"))

    def delete_namespace(self, *, wait: bool) -> None:
        """Delete the namespace with all that is in it.

        Raises:
            NotOurs: it wasn't made by `create_namespace` from this checkout.
        """
        self._refuse_others()
        self.run("delete", "namespace", self.namespace, "--ignore-not-found", f"--wait={json.dumps(wait)}")

    def _refuse_others(self) -> None:
        found = self.run("get", "namespace", self.namespace, "--ignore-not-found", "--output=json").strip()
        if found and existing.CHECKOUT_LABEL not in (labels := json.loads(found)["metadata"].get("labels", {})):
            raise NotOurs(f"there is a namespace {self.namespace}, and it is none that this project's tools have made")
        if found and (theirs := labels[existing.CHECKOUT_LABEL]) != Paths.here().key:
            raise NotOurs(f"the namespace {self.namespace} belongs to another checkout, {theirs}")

    def get(self, kind: str, name: str) -> Manifest:
        """Read one object."""
        found: Manifest = json.loads(self.run("get", kind, name, "--output=json"))
        return found

    def objects(self) -> Objects:
        """Read what a Cluster consists of."""
        found = []
        for group_version, kind, resource in _WATCHED:
            try:
                found += list_objects(self.namespace, resource, group_version=group_version, kind=kind)
            except ReadError as error:
                raise KubectlError(["get", resource], str(error)) from error
        return Objects(tuple(found))

    def scale(self, cluster: str, replicas: int) -> None:
        """Scale a Cluster as users do."""
        self.run("scale", f"{CLUSTERS}/{cluster}", f"--replicas={replicas}")

    def delete(self, kind: str, *names: str, wait: bool = False) -> None:
        """Delete objects; with `wait`, return once they are gone."""
        self.run("delete", kind, *names, f"--wait={json.dumps(wait)}")

    def evict(self, pod: str) -> None:
        """Evict a pod as `kubectl drain` does, which disruption budgets may refuse."""
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/eviction"
        self.run("create", f"--raw={path}", "--filename=-", stdin=json.dumps(eviction))

    def exec(self, pod: str, *command: str) -> str:
        """Run a command in a pod and return what it prints."""
        return self.run("exec", pod, "--", *command)

    def logs(self, *arguments: str) -> str:
        """Read the log of what the arguments name."""
        return self.run("logs", *arguments)

    def wait(self, what: str, condition: Callable[[Objects], T | None], *, timeout: float = 90.0) -> T:
        """Look at the namespace until a condition holds, and return what the condition returned.

        Args:
            what: the condition in words, as in "4 workers are ready".
            condition: returns something that is neither None nor False once it holds.
            timeout: seconds.

        Raises:
            TooLate: it still doesn't.
        """
        return self.wait_for(what, lambda: condition(self.objects()), timeout=timeout)

    def wait_for(self, what: str, look: Callable[[], T | None], *, timeout: float = 90.0) -> T:
        """As `wait`, for conditions that have to look elsewhere."""
        deadline = time.monotonic() + timeout
        while True:
            found = look()
            if found is not None and found is not False:
                return found
            if time.monotonic() > deadline:
                raise TooLate(f"after {timeout:g} s still not so: {what}\n{self.diagnosis()}")
            time.sleep(_POLL_SECONDS)

    def wait_established(self, definition: str) -> None:
        """Wait until a CustomResourceDefinition can be used.

        Not by `kubectl wait`, which fails on a definition that is so new that it has no conditions yet.
        """

        def established() -> bool:
            conditions = self.get("crd", definition).get("status", {}).get("conditions") or []
            return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)

        self.wait_for(f"{definition} is established", established, timeout=30)

    def diagnosis(self) -> str:
        """Everything that says what is going on, and the operator's log; never fails."""
        parts = [f"== {title} in {self.namespace}\n{self._try(*command)}" for title, command in _SECTIONS.items()]
        for namespace, pod in self._operators():
            log = self._try(f"--namespace={namespace}", "logs", pod, f"--tail={_LOG_LINES}")
            parts.append(f"== log of the operator {namespace}/{pod}\n{log}")
        return "\n".join(parts)

    def _operators(self) -> list[tuple[str, str]]:
        columns = "custom-columns=NAMESPACE:.metadata.namespace,NAME:.metadata.name"
        listed = self._try("get", "pods", "-A", f"--selector={OPERATOR_LABEL}", "--no-headers", f"--output={columns}")
        return [(words[0], words[1]) for words in map(str.split, listed.splitlines()) if len(words) == 2]

    def _try(self, *arguments: str) -> str:
        command = ["kubectl", f"--namespace={self.namespace}", *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=15, check=False)
        except subprocess.TimeoutExpired:
            return "kubectl gave no answer"
        return (done.stdout or done.stderr).strip()


@contextmanager
def overlay(
    base: Path,
    *,
    namespace: str | None = None,
    name_suffix: str = "",
    images: Mapping[str, str] | None = None,
    patches: Sequence[Manifest] = (),
) -> Iterator[Path]:
    """A kustomization over one of the project's folders, as users would write it, in a folder that goes at the end.

    Args:
        base: the folder.
        namespace: sets `namespace:`.
        name_suffix: sets `nameSuffix:`.
        images: sets `images:`, the reference to use by the name that stands in the manifests.
        patches: sets `patches:`.
    """
    with tempfile.TemporaryDirectory(prefix="dask-k8s-") as folder:
        root = Path(folder).resolve()
        # kustomize takes relative paths only.
        kustomization: Manifest = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [os.path.relpath(base.resolve(), root)],
            "nameSuffix": name_suffix,
            "images": [_image(name, reference) for name, reference in (images or {}).items()],
            "patches": list(patches),
        }
        if namespace is not None:
            kustomization["namespace"] = namespace
        (root / "kustomization.yaml").write_text(json.dumps(kustomization))
        yield root


def _image(name: str, reference: str) -> dict[str, str]:
    repository, at, digest = reference.partition("@")
    if at:
        return {"name": name, "newName": repository, "digest": digest}
    host, slash, last = repository.rpartition("/")
    short, _, tag = last.partition(":")
    return {"name": name, "newName": f"{host}{slash}{short}", "newTag": tag or "latest"}


def _list(manifests: Sequence[Manifest]) -> Manifest:
    return {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
