"""The supervisor with real processes, without namespaces."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from integration.cluster import supervisor
from integration.cluster.components import Component, components, start_component, stop_component
from integration.cluster.paths import Paths
from integration.cluster.provider import ProviderError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the local node is for Linux alone")
SECONDS = 15.0
SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(checkout=tmp_path, key="key", prefix="prefix", state=tmp_path / "state", cache=tmp_path / "cache")
    (paths.node / "stopped").mkdir(parents=True)
    return paths


@pytest.fixture
def supervise(paths: Paths) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts the supervisor with the given components: name, command, what it needs."""
    running: list[subprocess.Popen[bytes]] = []

    def start(
        *planned: tuple[str, tuple[str, ...], str], setup: tuple[str, ...] = ("true",)
    ) -> subprocess.Popen[bytes]:
        plan = {
            "setup": [setup],
            "components": [
                {
                    "name": name,
                    "argv": argv,
                    "needs": needs,
                    "log": str(paths.node / f"{name}.log"),
                    "env": {"WHO": name},
                }
                for name, argv, needs in planned
            ],
        }
        (paths.node / "plan.json").write_text(json.dumps(plan))
        argv = [sys.executable, "-I", supervisor.__file__, str(paths.node)]
        running.append(subprocess.Popen(argv, stdout=subprocess.PIPE))  # noqa: S603
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()
    for component in components(paths).values():
        if component.pid:
            os.kill(component.pid, signal.SIGKILL)


def wait_for(paths: Paths, name: str, condition: Callable[[Component], bool]) -> Component:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if (known := components(paths).get(name)) and condition(known):
            return known
        time.sleep(0.02)
    raise AssertionError(f"not reached: {components(paths).get(name)}")


def test_a_component_that_dies_is_started_again_and_reported(
    paths: Paths, supervise: Callable[..., subprocess.Popen[bytes]]
) -> None:
    supervise(("one", SLEEP, ""))
    first = wait_for(paths, "one", lambda one: one.state == "running")
    assert (first.starts, first.last_exit) == (1, "")
    os.kill(first.pid, signal.SIGTERM)
    again = wait_for(paths, "one", lambda one: one.starts == 2 and one.state == "running")
    assert again.pid != first.pid
    assert again.last_exit == "killed by SIGTERM"


def test_how_a_component_ended_and_what_it_said_is_kept(
    paths: Paths, supervise: Callable[..., subprocess.Popen[bytes]]
) -> None:
    supervise(("one", (sys.executable, "-c", "import os; print('I am', os.environ['WHO']); os._exit(3)"), ""))
    wait_for(paths, "one", lambda one: one.last_exit == "exit status 3")
    assert "I am one" in (paths.node / "one.log").read_text()


def test_a_stopped_component_stays_so_until_it_is_let_go(
    paths: Paths, supervise: Callable[..., subprocess.Popen[bytes]]
) -> None:
    supervise(("one", SLEEP, ""), ("two", SLEEP, ""))
    first = wait_for(paths, "one", lambda one: one.state == "running")
    other = wait_for(paths, "two", lambda two: two.state == "running")
    stop_component("one", paths=paths)
    assert not Path(f"/proc/{first.pid}").exists()
    time.sleep(1.5)  # longer than it takes to start a dead one again: there is nothing to wait for
    assert components(paths)["one"].state == "stopped"
    start_component("one", paths=paths)
    assert components(paths)["one"].state == "running"
    assert components(paths)["one"].starts == 2
    assert components(paths)["two"] == other


def test_a_component_waits_for_what_it_needs(paths: Paths, supervise: Callable[..., subprocess.Popen[bytes]]) -> None:
    socket = paths.node / "socket"
    listen = (
        f"import socket, time; s = socket.socket(socket.AF_UNIX); s.bind({str(socket)!r}); s.listen(); time.sleep(600)"
    )
    (paths.node / "stopped" / "server").touch()
    supervise(("client", SLEEP, f"unix:{socket}"), ("server", (sys.executable, "-c", listen), ""))
    wait_for(paths, "server", lambda server: server.state == "stopped")
    assert components(paths)["client"].state == "waiting"
    start_component("server", paths=paths)
    wait_for(paths, "client", lambda client: client.state == "running")


def test_an_unknown_component_is_an_error_that_names_those_there_are(
    paths: Paths, supervise: Callable[..., subprocess.Popen[bytes]]
) -> None:
    supervise(("one", SLEEP, ""))
    wait_for(paths, "one", lambda one: one.state == "running")
    with pytest.raises(ProviderError, match="no component 'two'; there are: one"):
        stop_component("two", paths=paths)
    assert list((paths.node / "stopped").iterdir()) == []


def test_no_supervisor_no_components(paths: Paths) -> None:
    assert components(paths) == {}
    with pytest.raises(ProviderError, match="none"):
        stop_component("one", paths=paths)


def test_a_failed_setup_ends_it_and_says_which_command(
    paths: Paths, supervise: Callable[..., subprocess.Popen[bytes]]
) -> None:
    process = supervise(("one", SLEEP, ""), setup=("sh", "-c", "echo no such device >&2; exit 4"))
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert b"status 4" in output
    assert b"no such device" in output
    assert components(paths) == {}
