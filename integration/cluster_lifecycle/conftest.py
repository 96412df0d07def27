"""Clusters that are made and taken away by these tests alone."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from integration.cluster.local import Local
from integration.cluster.paths import CLUSTER_VARIABLE, Paths

if TYPE_CHECKING:
    from collections.abc import Iterator


class Cluster:
    """A further cluster of this checkout, with the command line that manages it."""

    def __init__(self, name: str) -> None:
        self.name = f"{name}-{os.getpid()}"
        self.paths = Paths.of(Paths.here().checkout, cluster=self.name)
        self.provider = Local(self.paths)

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command line, as a user does."""
        return self._start("-m", "integration.cluster", *arguments)

    def python(self, code: str) -> subprocess.Popen[str]:
        """Start a process that finds this cluster as its own."""
        return self._start("-c", code)

    def kubectl(self, *arguments: str, check: bool = True) -> str:
        """Run kubectl in the cluster's network and return what it printed, on both outputs where it failed."""
        process = self.command("run", "kubectl", *arguments)
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0 or not check, errors
        return output if process.returncode == 0 else output + errors

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.paths.checkout,
            env={**os.environ, CLUSTER_VARIABLE: self.name},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="session", autouse=True)
def usable() -> None:
    """Skip where no local node can run."""
    verdict = Local(Paths.here()).verdict()
    if not verdict.usable:
        pytest.skip(f"no local node: {verdict.reason}")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster that is not up yet, and is gone after the test."""
    yield from _passing("lifecycle")


@pytest.fixture
def other() -> Iterator[Cluster]:
    """A second one."""
    yield from _passing("other")


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    """A cluster that is up, for tests that leave it as it was."""
    for cluster in _passing("shared"):
        cluster.provider.up()
        yield cluster


def _passing(name: str) -> Iterator[Cluster]:
    cluster = Cluster(name)
    try:
        yield cluster
    finally:
        cluster.provider.down()
