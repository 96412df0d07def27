"""Looks at the local node's components, and stops and starts single ones, from outside the node."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from integration.cluster.paths import Paths
from integration.cluster.provider import ProviderError

_TICK = 0.05


@dataclass(frozen=True)
class Component:
    """What the supervisor last said about one component.

    Attributes:
        name: `etcd`, `apiserver`, `controller-manager`, `scheduler`, `containerd`, `kubelet`, `proxy` or `dns`.
        state: `running`, `stopped` (as asked) or `waiting` (for what it needs, or to be started again).
        pid: its process inside the node's PID namespace, 0 where it does not run.
        starts: how often it was started; above 1 means that it ended by itself or was stopped before.
        last_exit: how it last ended, empty where it never did.
    """

    name: str
    state: str
    pid: int
    starts: int
    last_exit: str


def components(paths: Paths | None = None) -> dict[str, Component]:
    """Read the supervisor's report; empty before its first one."""
    file = (paths or Paths.here()).node / "components.json"
    try:
        report = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    return {name: Component(name=name, **fields) for name, fields in report.items()}


def stop_component(name: str, *, paths: Paths | None = None, timeout: float = 10.0) -> None:
    """Kill a component with SIGKILL, as in a crash, and keep it from being started again; waits until it is gone.

    Raises:
        ProviderError: there is no such component, or it was not gone after `timeout` seconds.
    """
    where = paths or Paths.here()
    (where.node / "stopped").mkdir(exist_ok=True)
    (where.node / "stopped" / name).touch()
    _wait(where, name, "stopped", timeout)


def start_component(name: str, *, paths: Paths | None = None, timeout: float = 30.0) -> None:
    """Let a component run again; waits until its process was started, not until it serves.

    Raises:
        ProviderError: there is no such component, or it did not start within `timeout` seconds.
    """
    where = paths or Paths.here()
    (where.node / "stopped" / name).unlink(missing_ok=True)
    _wait(where, name, "running", timeout)


def _wait(paths: Paths, name: str, state: str, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while (known := components(paths)).get(name) is None or known[name].state != state:
        if name not in known:
            (paths.node / "stopped" / name).unlink(missing_ok=True)
            raise ProviderError(f"no component {name!r}; there are: {', '.join(known) or 'none'}")
        if time.monotonic() > deadline:
            raise ProviderError(f"{name} is {known[name].state}, not {state}, after {timeout:.0f} s")
        time.sleep(_TICK)
