"""The first process of the local node: sets up its namespaces, then keeps its components running.

Runs as process 1 of the node's own PID namespace, as a script with the standard library alone, so that it depends on
nothing that may change while the node runs. The plan that it reads is made by `node_plan`; what it finds is written to
`components.json`. Which component is to stand still is said by files in the folder `stopped`: the supervisor compares
that with what runs, time and again, so neither side can miss the other's word.
"""

from __future__ import annotations

import contextlib
import http
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_TICK = 0.1
_PROBE_SECONDS = 0.5
_RESTART_DELAY = 1.0


@dataclass
class _Component:
    """A program that is kept running; `pid` is the one inside the node, 0 where it does not run."""

    name: str
    argv: list[str]
    needs: str
    log: str
    env: dict[str, str]
    pid: int = 0
    starts: int = 0
    last_exit: str = ""
    not_before: float = 0.0


def main() -> None:
    """Read the plan from the folder given on the command line and work until killed."""
    state = Path(sys.argv[1])
    plan = json.loads((state / "plan.json").read_text())
    _log("setting up")
    for argv in plan["setup"]:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            _log(f"setup failed with status {done.returncode}: {' '.join(argv)}: {done.stderr.strip()}")
            sys.exit(1)
    # Blocked so that a component's end wakes the wait below, not some moment before it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    _supervise(state, [_Component(**component) for component in plan["components"]])


def _supervise(state: Path, components: list[_Component]) -> None:
    stopped = state / "stopped"
    written = ""
    while True:
        _reap(components)
        for component in components:
            _move_towards(component, wanted=not (stopped / component.name).exists())
        report = json.dumps({component.name: _report(component, stopped) for component in components}, indent=2)
        if report != written:
            _publish(state / "components.json", report)
            written = report
        signal.sigtimedwait({signal.SIGCHLD}, _TICK)


def _reap(components: list[_Component]) -> None:
    """Collect the components that ended, and whatever orphan of theirs was handed to process 1."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        for component in components:
            if component.pid == pid:
                component.pid = 0
                component.last_exit = _describe(os.waitstatus_to_exitcode(status))
                component.not_before = time.monotonic() + _RESTART_DELAY
                _log(f"{component.name} ended: {component.last_exit}")


def _move_towards(component: _Component, *, wanted: bool) -> None:
    if component.pid and not wanted:
        _log(f"{component.name}: killing it, as asked")
        os.kill(component.pid, signal.SIGKILL)
    elif not component.pid and wanted and time.monotonic() >= component.not_before and _reachable(component.needs):
        component.pid = _spawn(component)
        component.starts += 1
        _log(f"{component.name} started" if component.starts == 1 else f"{component.name} started again")


def _reachable(need: str) -> bool:
    """Whether somebody listens at `tcp:ADDRESS:PORT` or `unix:PATH`, or is ready at `https:ADDRESS:PORT:AUTHORITY`."""
    if not need:
        return True
    kind, *where = need.split(":")
    with contextlib.suppress(OSError, http.client.HTTPException):
        if kind == "https":
            return _ready(*where)
        with socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET) as probe:
            probe.settimeout(_PROBE_SECONDS)
            probe.connect(where[0] if kind == "unix" else (where[0], int(where[1])))
            return True
    return False


def _ready(host: str, port: str, authority: str) -> bool:
    context = ssl.create_default_context(cafile=authority)
    connection = http.client.HTTPSConnection(host, int(port), timeout=_PROBE_SECONDS, context=context)
    with contextlib.closing(connection):
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK


def _spawn(component: _Component) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        component.argv[0],
        component.argv,
        {**os.environ, **component.env},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, component.log, flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsigmask=[],
        setpgroup=0,
    )


def _report(component: _Component, stopped: Path) -> dict[str, object]:
    asked = (stopped / component.name).exists()
    state = "running" if component.pid else "stopped" if asked else "waiting"
    return {"state": state, "pid": component.pid, "starts": component.starts, "last_exit": component.last_exit}


def _describe(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"


def _publish(file: Path, text: str) -> None:
    partial = file.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(file)


def _log(line: str) -> None:
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {line}", flush=True)


if __name__ == "__main__":
    main()
