"""Integration tests that share something expensive, or may not meet, are kept in one process."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

GROUP = """
import os
import pathlib
import pytest

@pytest.mark.xdist_group("together")
@pytest.mark.parametrize("number", range(4))
def test_one(number):
    with pathlib.Path("processes").open("a") as file:
        file.write(os.environ["PYTEST_XDIST_WORKER"] + "\\n")
"""


def test_pytest_xdist_keeps_a_group_together(tmp_path: Path) -> None:
    """With some versions of pytest it doesn't, and nothing says so."""
    for module in ("test_a.py", "test_b.py"):
        (tmp_path / module).write_text(GROUP)
    command = [sys.executable, "-m", "pytest", "--numprocesses=2", "--dist=loadgroup", "--no-loadscope-reorder"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603 -- our own
    assert done.returncode == 0, done.stdout
    processes = (tmp_path / "processes").read_text().split()
    assert (len(processes), len(set(processes))) == (8, 1)
