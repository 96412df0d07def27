"""A Kubernetes in a Docker container: k3s, by testcontainers."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker.errors
import requests
from testcontainers.community.k3s import K3SContainer
from testcontainers.core.config import testcontainers_config
from testcontainers.core.exceptions import ContainerStartException
from testcontainers.core.image import DockerImage

from integration.cluster import binaries, docker_probe, foreground, k3s_kubectl
from integration.cluster.cache import digest, digest_files, lock
from integration.cluster.images import Image, dask_image, operator_image
from integration.cluster.node_images import archived_references
from integration.cluster.progress import say, step
from integration.cluster.provider import Images, ProviderError, Verdict, not_up

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from integration.cluster.paths import Paths

LABEL = "dask-k8s-operator.test-cluster"
"""On the container; its value is the key of the checkout's cluster."""

_SETTINGS_LABEL = "dask-k8s-operator.test-cluster-settings"
_NODE = "k3s"
# Where k3s puts the Service of its CoreDNS unless told otherwise.
_RESOLV_CONF = "nameserver 10.43.0.10\nsearch svc.cluster.local cluster.local\noptions ndots:5 timeout:2\n"
_READY_SECONDS = 180.0
_REVIVAL_SECONDS = 30.0
_SEEN_SECONDS = 15.0
_REQUEST_SECONDS = 600  # importing an image into the node is one silent request
_TICK = 0.2
_KEPT_IMAGES = 3
_READY = (
    ("kubectl", "get", "--raw=/readyz"),
    ("kubectl", "wait", "--for=condition=Ready", f"node/{_NODE}", "--timeout=5s"),
    ("kubectl", "rollout", "status", "--namespace=kube-system", "deployment/coredns", "--timeout=5s"),
    # Without its service account a namespace takes no pods.
    ("kubectl", "get", "serviceaccount", "default"),
)
_PIP_ARGUMENTS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")


def image() -> str:
    """The image of k3s, of the Kubernetes version that the local node has too."""
    version = binaries.kubernetes_version((binaries.MODULE / "go.mod").read_text())
    return f"rancher/k3s:v{version}-k3s1"


class K3s:
    """One k3s server in a container that outlives the process that started it.

    Args:
        paths: where the cluster's kubeconfig is kept, and what its container's name starts with.
    """

    name = "k3s"

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._folder = paths.state / "k3s"

    def verdict(self) -> Verdict:
        """Whether a Docker daemon answers that can run k3s and have its image, and there is a kubectl or will be."""
        verdict = docker_probe.probe(f"{testcontainers_config.hub_image_name_prefix}{image()}")
        if verdict.usable and (reason := k3s_kubectl.obstacle()):
            return Verdict(usable=False, reason=reason)
        return verdict

    def up(self) -> None:
        """Start the container, or find it running, and wait until Kubernetes is ready.

        Raises:
            ProviderError: Docker refused, or the cluster did not become ready.
        """
        with lock(self._lock), _docker_errors():
            server = _Server(self._paths)
            if not self._revive(server):
                with step(f"Starting {image()} in Docker"):
                    server.start_afresh()
            # Each time: Docker gives the server's port anew when it starts a container.
            self._write_kubeconfigs(server)
            k3s_kubectl.provide(self._paths.cache, image=image(), container=server.get_wrapped_container())

    def down(self) -> None:
        """Remove the container with its volumes, and its part of the state folder; built images stay with Docker.

        Raises:
            ProviderError: Docker does not answer, so that a cluster may be left.
        """
        with lock(self._lock), _docker_errors():
            _Server(self._paths).remove_existing()
            shutil.rmtree(self._folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # it holds something else, or is gone
                self._paths.state.rmdir()

    def running(self) -> bool:
        """Whether the container runs and its API server says that it is ready."""
        try:
            with _docker_errors():
                server = _Server(self._paths)
                return server.adopt() and server.check(_READY[0])
        except ProviderError:
            return False

    def kubeconfig(self) -> Path:
        """The administrator's; its server is a port of the machine that Docker runs on."""
        return self._folder / "kubeconfig"

    def images(self) -> Images:
        """Build both images by Docker where their inputs changed, and load what the node lacks.

        Raises:
            ProviderError: a build failed, or the cluster is not up.
        """
        with _docker_errors():
            server = self._adopted()
            operator = self._provide(server, operator_image(self._paths.checkout), {})
            # The same minor version of Python as the clients', which run on this one.
            base = f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"
            dask = self._provide(server, dask_image(), {"BASE": base})
            return Images(operator=operator, dask=dask)

    def load(self, image: str) -> None:
        """Load the docker archive at a path, or an image that Docker has.

        Raises:
            ProviderError: there is neither, or the cluster is not up.
        """
        with _docker_errors():
            server = self._adopted()
            if Path(image).is_file():
                server.import_archive(Path(image))
            else:
                server.import_image(image)

    def run(self, command: Sequence[str]) -> int:
        """Run a command: in the node's network with its DNS where Docker shares this Linux with root, else outside.

        Raises:
            ProviderError: the cluster is not up, or there is no such command.
        """
        with _docker_errors():
            pid = self._adopted().shared_pid()
        programs = k3s_kubectl.folder(self._paths.cache, image=image())
        if not pid:
            return foreground.run_outside(command, kubeconfig=self.kubeconfig(), programs=programs)
        inside = entering(pid, self._folder / "resolv.conf", command)
        return foreground.run(inside, kubeconfig=self._folder / "kubeconfig-inside", programs=programs)

    @property
    def _lock(self) -> Path:
        return self._paths.cache / "locks" / self._paths.key

    def _revive(self, server: _Server) -> bool:
        """Take over a container that runs, and give it some time to be ready."""
        if not server.adopt():
            return False
        if missing := server.missing(seconds=_REVIVAL_SECONDS):
            say(f"k3s runs but is not ready ({missing}): it is started afresh.")
            return False
        return True

    def _write_kubeconfigs(self, server: _Server) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        inside = server.read("/etc/rancher/k3s/k3s.yaml")
        for name, text in (
            ("kubeconfig", server.config_yaml()),
            ("kubeconfig-inside", inside),
            ("resolv.conf", _RESOLV_CONF),
        ):
            (self._folder / name).write_text(text)

    def _adopted(self) -> _Server:
        server = _Server(self._paths)
        if not server.adopt():
            raise not_up()
        return server

    def _provide(self, server: _Server, wanted: Image, arguments: Mapping[str, str]) -> str:
        """Build and load one image; its name tells what went into it."""
        tag = digest(wanted.name, digest_files(wanted.folder, wanted.files), *sorted(arguments.values()))
        reference = f"localhost/{wanted.name}:{tag}"
        if server.has(reference):
            return reference
        client = server.docker
        if not client.images.list(name=reference):
            pip = {name: os.environ[name] for name in _PIP_ARGUMENTS if os.environ.get(name)}
            with step(f"Building {reference}"):
                DockerImage(wanted.folder, tag=reference, clean_up=False, buildargs={**pip, **arguments}).build()
            _forget_older(client, f"localhost/{wanted.name}")
        with step(f"Loading {reference}"):
            server.import_image(reference)
        return reference


class _Server(K3SContainer):
    """The container of one cluster: set up here, but looked up in Docker before it is started."""

    def __init__(self, paths: Paths) -> None:
        super().__init__(image(), enable_cgroup_mount=False, docker_client_kw={"timeout": _REQUEST_SECONDS})
        # It would make k3s join a cluster, at an address that is nobody's.
        del self.env["K3S_URL"]
        self.ports = {str(self.KUBE_SECURE_PORT): None}
        arguments = server_arguments(self.get_container_host_ip())
        self._settings = digest(self.image, *arguments)
        self.with_name(f"{paths.prefix}-k3s")
        self.with_command(list(arguments))
        self.with_kwargs(privileged=True, hostname=_NODE, labels={LABEL: paths.key, _SETTINGS_LABEL: self._settings})

    @property
    def docker(self) -> Any:
        """The daemon's client."""
        return self.get_docker_client().client

    def adopt(self) -> bool:
        """Take over the container that runs with these settings; whether there is one."""
        found = self._existing()
        if found is None or found.status != "running" or found.labels.get(_SETTINGS_LABEL) != self._settings:
            return False
        self._container = found
        return True

    def start_afresh(self) -> None:
        """Start a new container in place of any that is there."""
        self.remove_existing()
        # For the rest of this process: Ryuk removes what the process started, but the cluster is to outlive it.
        testcontainers_config.ryuk_disabled = True
        self.start()

    def remove_existing(self) -> None:
        """Remove the container, whichever settings it has, and its volumes."""
        if found := self._existing():
            found.remove(force=True, v=True)

    def missing(self, *, seconds: float) -> str:
        """Wait until the cluster can be used; names what still fails when the time is over."""
        deadline = time.monotonic() + seconds
        for condition in _READY:
            while not self.check(condition):
                self.reload()
                if self.status != "running" or time.monotonic() > deadline:
                    return f"`{' '.join(condition)}` fails"
                time.sleep(_TICK)
        return ""

    def check(self, command: Sequence[str]) -> bool:
        """Whether a command succeeds in the container."""
        return self.status == "running" and self.exec(list(command)).exit_code == 0

    def read(self, file: str) -> str:
        """A text file of the container's."""
        return self.output("cat", file)

    def output(self, *command: str) -> str:
        """What a command in the container prints.

        Raises:
            ProviderError: it failed.
        """
        done = self.exec(list(command))
        text = done.output.decode(errors="replace")
        if done.exit_code != 0:
            raise ProviderError(f"in the k3s container, `{' '.join(command)}` failed: {text.strip()}")
        return text

    def has(self, reference: str) -> bool:
        """Whether pods can be started from an image."""
        return self.check(("crictl", "inspecti", "--quiet", reference))

    def import_image(self, reference: str) -> None:
        """Import an image that Docker has.

        Raises:
            ProviderError: it has none of that name.
        """
        try:
            found = self.docker.images.get(reference)
        except docker.errors.ImageNotFound as error:
            raise ProviderError(f"Docker has no image {reference}; build or pull it first") from error
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "image.tar"
            with archive.open("wb") as file:
                file.writelines(found.save(named=reference))
            self.import_archive(archive)

    def import_archive(self, archive: Path) -> None:
        """Import a docker archive; pods can be started from its images once this returns."""
        references = archived_references(archive)
        inside = f"/images/{digest(*references)}.tar"
        with tempfile.TemporaryFile() as upload:
            with tarfile.open(fileobj=upload, mode="w") as tar:
                tar.add(archive, arcname=inside)
            upload.seek(0)
            self.get_wrapped_container().put_archive("/", upload)
        try:
            self.output("ctr", "--namespace=k8s.io", "images", "import", inside)
        finally:
            self.output("rm", "-f", inside)
        deadline = time.monotonic() + _SEEN_SECONDS
        # The import has only told the runtime; the kubelet would find no such image for a moment yet.
        while unseen := [reference for reference in references if not self.has(reference)]:
            if time.monotonic() > deadline:
                raise ProviderError(f"imported, but not to be seen by Kubernetes: {', '.join(unseen)}")
            time.sleep(_TICK)

    def shared_pid(self) -> int:
        """The node's process number, where its namespaces can be entered from here; 0 where they can't."""
        if sys.platform != "linux" or os.geteuid() != 0:
            return 0
        pid = int(self.get_wrapped_container().attrs["State"]["Pid"])
        # A daemon on another machine, or in a desktop's virtual one, has the number of some other process.
        try:
            groups = Path(f"/proc/{pid}/cgroup").read_text()
        except OSError:
            return 0
        return pid if self.get_container_id() in groups else 0

    def _existing(self) -> Any:
        try:
            return self.docker.containers.get(self._name)
        except docker.errors.NotFound:
            return None

    def _connect(self) -> None:
        """Called once the container is started; in place of waiting for a line in its log."""
        self.reload()
        if missing := self.missing(seconds=_READY_SECONDS):
            log = self.get_wrapped_container().logs(tail=20).decode(errors="replace")
            raise ProviderError(f"k3s did not become ready: {missing}; its log ends with:\n{log}")


def server_arguments(host: str) -> tuple[str, ...]:
    """The command line of k3s whose API server is reached by a host's name or address."""
    gate = "feature-gates=HPAScaleToZero=true"
    return (
        "server",
        f"--tls-san={host}",
        "--disable=traefik",
        "--disable=metrics-server",
        f"--kube-apiserver-arg={gate}",
        f"--kube-controller-manager-arg={gate}",
        "--kube-controller-manager-arg=horizontal-pod-autoscaler-sync-period=2s",
    )


def entering(pid: int, resolv_conf: Path, command: Sequence[str]) -> list[str]:
    """The command that runs another one in a process's network, with a `resolv.conf` of its own."""
    script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    resolving = ["unshare", "--mount", "--propagation=private", "sh", "-c", script, str(resolv_conf)]
    return ["nsenter", f"--net=/proc/{pid}/ns/net", "--", *resolving, *command]


def _forget_older(client: Any, repository: str) -> None:
    """Keep Docker's storage from growing with every change; layers that newer images use stay."""
    newest_first = sorted(client.images.list(name=repository), key=lambda one: one.attrs["Created"], reverse=True)
    for older in newest_first[_KEPT_IMAGES:]:
        client.images.remove(older.id, force=True)


@contextlib.contextmanager
def _docker_errors() -> Iterator[None]:
    """Say what Docker's client complains of as what it is to the user."""
    try:
        yield
    except docker.errors.BuildError as error:
        lines = "".join(str(entry.get("stream", "")) for entry in error.build_log).splitlines()[-25:]
        raise ProviderError("\n".join([f"the build failed: {error}", *lines])) from error
    except (docker.errors.DockerException, requests.RequestException, ContainerStartException) as error:
        raise ProviderError(f"Docker: {error}") from error
