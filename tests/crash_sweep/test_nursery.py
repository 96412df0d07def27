"""The operators of the sweep: one at a time, and one that ends by itself is started again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="local nodes and so the sweep need Linux")

PATIENCE_SECONDS = 60.0
ENDED = "ended by itself with status 0"


def test_one_that_ends_is_started_again_until_the_next(tmp_path: Path) -> None:
    """Its command line here is `--version`, which ends at once."""
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    command = [sys.executable, "-m", "integration.crash_sweep.nursery"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as nursery:  # noqa: S603 (nothing in it comes from outside)
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        for log, ends in ((first, 2), (second, 0)):
            print(log, "--version", sep="\t", file=nursery.stdin)
            assert nursery.stdout.readline() == "done\n"
            _wait_for_ends(log, ends)
        ended = first.read_text()
        print(file=nursery.stdin)
        assert nursery.stdout.readline() == "done\n"
        assert first.read_text() == ended, "the first was still started again"
        nursery.stdin.close()
    assert nursery.returncode == 0


def _wait_for_ends(log: Path, times: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not log.exists() or log.read_text().count(ENDED) < times:
        assert time.monotonic() < deadline, log.read_text() if log.exists() else "it was never started"
        time.sleep(0.05)
