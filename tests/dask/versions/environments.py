"""Python environments with one version of Dask each, made once for each user and kept outside the checkout."""

from __future__ import annotations

import subprocess
import sys
import venv
from importlib.metadata import version
from typing import TYPE_CHECKING

from integration.cluster.cache import once
from integration.cluster.paths import Paths

if TYPE_CHECKING:
    from pathlib import Path

FIRST = "2022.5.1"
"""The first with the HTTP API. It can be installed on every Python that the operator runs on."""

ANSWERS_500 = "2025.7.0"
"""The last that may answer 500 to a retirement which has worked: some of the workers' metrics are no JSON.

2022.5.1 doesn't yet have those, and since 2025.9.0 they are made JSON (`distributed.http.scheduler.api`).
"""

VERSIONS = (FIRST, ANSWERS_500, version("distributed"))
"""Those two, and the operator's own, which is the newest where nothing was pinned."""


def python_with(dask: str) -> Path:
    """The Python of an environment with this version of `dask` and `distributed`, made first where it is missing."""
    name = f"dask-{dask}-python-{sys.version_info.major}.{sys.version_info.minor}"
    return once(Paths.here().cache / "versions" / name, lambda folder: _make(folder, dask)) / "bin" / "python"


def _make(folder: Path, dask: str) -> None:
    venv.create(folder, with_pip=True, symlinks=True)
    pip = (str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check")
    subprocess.run([*pip, "install", "--quiet", f"dask=={dask}", f"distributed=={dask}"], check=True)  # noqa: S603 -- nothing in the command comes from outside
