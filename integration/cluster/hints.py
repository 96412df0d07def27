"""The commands that a person is told to type, as they work in the checkout's folder after the README's commands."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from integration.cluster.paths import CLUSTER_VARIABLE, KUBECONFIG_VARIABLE

if TYPE_CHECKING:
    from pathlib import Path

NOX = ".venv/bin/nox"
"""Where the README's commands put it. That environment has nothing else of this project."""


def nox(session: str, *arguments: str) -> str:
    """A command line for one of noxfile.py's sessions.

    It uses the same cluster as this process: variables that choose one are written before it.
    """
    chosen = [f"{name}={shlex.quote(os.environ[name])}" for name in _VARIABLES if os.environ.get(name)]
    return " ".join([*chosen, NOX, "-s", session, *(["--", *map(shlex.quote, arguments)] if arguments else [])])


def cluster(*arguments: str, kubeconfig: Path | None = None) -> str:
    """A command line that manages the cluster, or the existing one that a kubeconfig leads to."""
    chosen = [] if kubeconfig is None else [f"--kubeconfig={kubeconfig}"]
    return nox("cluster", *chosen, *arguments)


_VARIABLES = (CLUSTER_VARIABLE, KUBECONFIG_VARIABLE)
