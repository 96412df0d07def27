"""The preStop hook as a program: which Python runs it, and what it reads out of the environment of its pod."""

from __future__ import annotations

import ast
import runpy
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dask_k8s_operator.domain import names
from dask_k8s_operator.domain.hook import prestop_command
from dask_k8s_operator.domain.trouble import NO_HANDOVER
from dask_k8s_operator.hooks import __path__ as hooks
from tests.dask.prestop import GRACE_SECONDS, ended, hook, needs_sh, without_operator
from tests.dask.script import Script, listed, retired

if TYPE_CHECKING:
    from collections.abc import Iterable


def fake_python(folder: Path, name: str) -> None:
    program = folder / name
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    program.chmod(0o755)


async def retires(command: list[str]) -> None:
    """Run the hook by a command, and see that it has the worker of its pod retired."""
    script = Script([listed("pod-a")], [retired(9000)])
    async with script.served() as url, hook(url, command=command) as process:
        assert await ended(process) == (0, "")
    assert script.posted == [[9000]]


@needs_sh
@pytest.mark.parametrize("pythons", [["python"], ["python3"], ["python", "python3"]], ids="-".join)
async def test_any_name_of_python_will_do(tmp_path: Path, pythons: Iterable[str]) -> None:
    shell, *arguments = without_operator()
    for name in pythons:
        fake_python(tmp_path, name)
    await retires(["env", f"PATH={tmp_path}", str(shutil.which(shell)), *arguments])


@needs_sh
async def test_a_process_of_the_pod_is_python_enough(tmp_path: Path) -> None:
    """As this one is, where a pod's worker would be."""
    shell, *arguments = without_operator()
    await retires(["env", f"PATH={tmp_path}", str(shutil.which(shell)), *arguments])


@needs_sh
async def test_a_pod_without_python_is_told_of_at_once(tmp_path: Path) -> None:
    shell, option, program, *arguments = without_operator()
    program = program.replace("/proc/", f"{tmp_path}/")
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "exe").symlink_to("/bin/sh")
    command = ["env", f"PATH={tmp_path}", str(shutil.which(shell)), option, program, *arguments]
    async with hook("", command=command) as process:
        code, said = await ended(process)
    assert code == 1
    assert said.startswith(NO_HANDOVER)


def constants(monkeypatch: pytest.MonkeyPatch, **env: str) -> dict[str, Any]:
    """What the hook's module holds in a pod with this environment."""
    for variable in (names.ENV_SCHEDULER_ADDRESS, names.ENV_SCHEDULER_DASHBOARD):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in env.items():
        monkeypatch.setenv(variable, value)
    return runpy.run_path(str(Path(hooks[0]) / "retire_self.py"))


@pytest.mark.parametrize(
    ("address", "api"),
    [
        ("tcp://a-scheduler.ns.svc:8786", "http://a-scheduler.ns.svc:8787/api/v1/"),
        ("tls://a-scheduler.ns.svc:8786", "http://a-scheduler.ns.svc:8787/api/v1/"),
        ("a-scheduler:8786", "http://a-scheduler:8787/api/v1/"),
        ("a-scheduler", "http://a-scheduler:8787/api/v1/"),
        ("tcp://[fd00::1]:8786", "http://[fd00::1]:8787/api/v1/"),
    ],
)
def test_finds_the_api_beside_the_scheduler(monkeypatch: pytest.MonkeyPatch, address: str, api: str) -> None:
    assert constants(monkeypatch, DASK_SCHEDULER_ADDRESS=address)["API"] == api
    explicit = constants(monkeypatch, DASK_SCHEDULER_ADDRESS=address, DASK_SCHEDULER_DASHBOARD="http://elsewhere:1/")
    assert explicit["API"] == "http://elsewhere:1/api/v1/"


@pytest.mark.parametrize(
    ("name", "address", "own"),
    [
        ("c-worker-abc", "tcp://10.0.0.1:9000", True),
        ("c-worker-abc", "tcp://10.0.0.9:9000", True),  # it told the scheduler another address
        ("c-worker-abc-1", "tcp://10.0.0.9:9000", True),  # --nworkers
        ("mine", "tls://10.0.0.1:9000", True),
        ("7", "tcp://10.0.0.1:9000", True),
        ("c-worker-xyz", "tcp://10.0.0.9:9000", False),
        ("c-worker-xyz", "tcp://10.0.0.1:9000", False),  # another pod on the node's IP (hostNetwork)
        ("c-worker-abcd", "tcp://10.0.0.9:9000", False),
        ("mine", "tcp://10.0.0.11:9000", False),
    ],
)
def test_tells_its_own_workers(monkeypatch: pytest.MonkeyPatch, name: str, address: str, own: bool) -> None:
    pod = constants(monkeypatch, DASK_WORKER_NAME="c-worker-abc", DASK_WORKER_ADDRESS="10.0.0.1")
    assert bool(pod["_own"](name, address)) == own


def test_tells_its_own_workers_on_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    pod = constants(monkeypatch, DASK_WORKER_NAME="c-worker-abc", DASK_WORKER_ADDRESS="fd00::1")
    assert pod["_own"]("mine", "tcp://[fd00::1]:9000")


def test_without_a_name_the_ip_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    pod = constants(monkeypatch, DASK_WORKER_NAME="", DASK_WORKER_ADDRESS="10.0.0.1")
    assert pod["_own"]("", "tcp://10.0.0.1:9000")
    assert not pod["_own"]("", "tcp://10.0.0.2:9000")


def test_is_small_and_old_python_can_run_it() -> None:
    source = prestop_command(GRACE_SECONDS)[-2]
    ast.parse(source, feature_version=(3, 8))
    assert source.count("\n") <= 80
    assert '"""' not in source
    imported = {node.module for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)}
    imported |= {a.name for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Import) for a in n.names}
    assert {str(module).partition(".")[0] for module in imported} <= sys.stdlib_module_names
