"""Programs that end with the process that runs them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from integration.cluster import binaries, images
from integration.cluster.command import bound, call
from integration.cluster.images import Builder, dask_image
from integration.cluster.provider import ProviderError

SECONDS = 20.0
AS_ROOT = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="namespaces are for root on Linux, as the local node is"
)
# Mounts something, leaves a child behind, and goes on.
_PROGRAM = """
mount -t tmpfs bound-test {folder}
sleep {mark} &
echo ready >&2
wait
"""
_CALLER = """
import sys
from integration.cluster.command import bound, call
call(bound(["sh", "-c", sys.argv[1]]))
"""


def _running(mark: str) -> bool:
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if file.read_bytes().rstrip(b"\0").split(b"\0") == [b"sleep", mark.encode()]:
                return True
    return False


def _wait(mark: str, *, running: bool) -> None:
    deadline = time.monotonic() + SECONDS
    while _running(mark) is not running:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@AS_ROOT
def test_it_ends_with_all_its_processes_and_mounts_when_its_caller_is_killed(tmp_path: Path) -> None:
    mark = f"6{os.getpid()}"
    program = _PROGRAM.format(folder=tmp_path, mark=mark)
    with subprocess.Popen([sys.executable, "-c", _CALLER, program]) as caller:  # noqa: S603
        _wait(mark, running=True)
        caller.kill()
    _wait(mark, running=False)
    assert "bound-test" not in Path("/proc/self/mounts").read_text()


@AS_ROOT
def test_it_is_called_like_any_other(tmp_path: Path) -> None:
    assert call(bound(["pwd"]), cwd=tmp_path) == f"{tmp_path}\n"
    with pytest.raises(ProviderError, match="status 3"):
        call(bound(["sh", "-c", "exit 3"]))


def test_what_builds_is_so_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build takes minutes and mounts things: the likeliest moment for somebody to kill all."""
    called: list[list[str]] = []

    def note(argv: list[str], **_: object) -> str:
        called.append(list(argv))
        (tmp_path / "made").touch()
        return ""

    for module in (images, binaries):
        monkeypatch.setattr(module, "call", note)
    monkeypatch.setattr(binaries, "provide_go", lambda _: Path("/go"))
    monkeypatch.setattr(Builder, "export", lambda _self, _reference, target: target.touch())
    Builder(tmp_path / "cache", codename="bookworm").build(dask_image())
    binaries.provide(tmp_path / "cache")
    start = bound([])
    programs = {argv[len(start)] for argv in called if argv[: len(start)] == start}
    assert programs == {"debootstrap", "buildah", "/go"}
    assert {argv[0] for argv in called if argv[: len(start)] != start} <= {"tar"}
