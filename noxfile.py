"""The project's checks and tools: `nox -l` lists them, a bare `nox` runs every check."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_external_run = True
nox.options.reuse_venv = "yes"
# What failed is then the last thing on the screen, and not under the minutes of the sessions that follow.
nox.options.stop_on_first_error = True
nox.options.sessions = ["lint", "typecheck", "tests", "cases", "dask", "integration", "chaos"]

CLUSTER = ("python", "-m", "integration.cluster")
DOMAIN = "dask_k8s_operator/domain/*"
REAL_DASK = ("tests/dask", "tests/agent")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting and which layer imports which."""
    session.install("-e", ".[lint]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def typecheck(session: nox.Session) -> None:
    """Check the types of the package, its tests and this file."""
    session.install("-e", ".[typecheck]")
    session.run("mypy", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests that need pip packages alone and take moments; arguments (`-- -k NAME`) go to pytest."""
    session.install("-e", ".[tests]")
    if session.posargs:
        session.run("pytest", *session.posargs)  # a part of the tests says nothing about coverage
        return
    others = [f"--ignore={folder}" for folder in REAL_DASK]
    coverage = ("--cov", "--cov-branch", "--cov-report=term")
    # More than most machines have processors for: some of them wait.
    side_by_side = ("--numprocesses=4", "--dist=worksteal")
    session.run("pytest", "tests", *others, *side_by_side, "-m", "not very_many_cases", *coverage)
    session.run("coverage", "report", f"--include={DOMAIN}", "--fail-under=90")


@nox.session
def cases(session: nox.Session) -> None:
    """Run the tests that go through very many cases: the model checker, properties, the simulator."""
    session.install("-e", ".[tests]")
    which = session.posargs or ("tests", "--numprocesses=auto", "--dist=worksteal")
    session.run("pytest", *which, "-m", "very_many_cases")


@nox.session
def dask(session: nox.Session) -> None:
    """Run the tests against real Dask: this one, the oldest and the newest, in environments that it makes once."""
    session.install("-e", ".[tests]")
    session.run("pytest", *(session.posargs or (*REAL_DASK, "--numprocesses=2")))


@nox.session
def model(session: nox.Session) -> None:
    """Explore larger worlds than the tests do, and with `-- --long` the largest of all."""
    session.install("-e", ".[tests]")
    session.run("python", "-m", "tests.model", "all-larger", *session.posargs)


@nox.session
def integration(session: nox.Session) -> None:
    """Run the tests on a real Kubernetes; arguments go to pytest.

    A cluster that is up already is used and stays; one that this brings up is taken down at the end.
    """
    session.install("-e", ".[tests]")
    found_up = _cluster_is_up(session)
    try:
        session.run(*CLUSTER, "up", "--yes")
        # Most of a test is waiting for pods, so more of them than there are processors run side by side. Those that
        # share something expensive are in one group and so in one process, and what takes longest begins
        # (integration/conftest.py): groups don't, since with all of them at once the processors idle.
        side_by_side = ("--numprocesses=4", "--dist=loadgroup", "--no-loadscope-reorder")
        pytest = (*CLUSTER, "run", "python", "-m", "pytest", "integration")
        session.run(*pytest, *side_by_side, *session.posargs)
        if not session.posargs:
            session.run(*pytest, "-m", "alone")
    finally:
        if not found_up:
            session.run(*CLUSTER, "down")


@nox.session
def keda(session: nox.Session) -> None:
    """Test KEDA itself on a real Kubernetes; building it takes half an hour the first time. Arguments go to pytest."""
    session.install("-e", ".[tests]")
    found_up = _cluster_is_up(session)
    try:
        session.run(*CLUSTER, "up", "--yes")
        session.run("python", "-m", "integration.keda")
        session.run(*CLUSTER, "run", "python", "-m", "pytest", "integration/keda", *session.posargs)
    finally:
        if not found_up:
            session.run(*CLUSTER, "down")


@nox.session
def chaos(session: nox.Session) -> None:
    """Disturb a computing Dask cluster at random and count what got lost: `-- --minutes N --seed S`, `--help`."""
    if sys.platform != "linux" or os.geteuid() != 0:
        session.skip("it stops components of a local node, which needs Linux and root")
    session.install("-e", ".[tests]")
    session.run("python", "-m", "integration.chaos", *session.posargs)


@nox.session(name="crash-sweep")
def crash_sweep(session: nox.Session) -> None:
    """Let every request of the operator meet every fault while workers go, and count what got lost: `-- --help`."""
    session.install("-e", ".[tests]")
    session.run("python", "-m", "integration.crash_sweep", "--long", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """Scale a computing Dask cluster up and down on a real Kubernetes and count what got lost."""
    session.install("-e", ".[tests]")
    session.run("python", "-m", "integration.demo", *session.posargs)


@nox.session
def benchmark(session: nox.Session) -> None:
    """Time the creation and removal of workers beside a Deployment's; `-- --help` lists the options."""
    session.install("-e", ".[tests]")
    session.run(*CLUSTER, "up", "--yes")
    session.run(*CLUSTER, "run", "python", "-m", "integration.benchmark", *session.posargs)


@nox.session
def crd(session: nox.Session) -> None:
    """Write the CustomResourceDefinition, with the types of the Kubernetes that `integration/binaries/go.mod` names."""
    session.install("-e", ".[tests]")
    session.run("python", "-m", "integration.openapi")
    session.run("python", "-m", "deploy.crd")


@nox.session
def cluster(session: nox.Session) -> None:
    """Manage the cluster for tests and demo: `-- up`, `down`, `status`, `run COMMAND`, `--help`."""
    session.install("-e", ".[tests]")
    session.run(*CLUSTER, *session.posargs)


def _cluster_is_up(session: nox.Session) -> bool:
    # Not `session.run`, which reports any other exit status than 0 as an error, and here it is an answer.
    python = Path(session.bin) / "python"
    status = subprocess.run(  # noqa: S603 (nothing in the command comes from outside)
        [python, *CLUSTER[1:], "status"], stdout=subprocess.DEVNULL, check=False
    )
    return status.returncode == 0
