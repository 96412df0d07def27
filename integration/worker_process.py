"""Signals to the Dask process in a pod, as the kernel or an administrator would send them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from integration.kube import Kube

SHARED = {"shareProcessNamespace": True}
"""What a PodSpec needs for signals from within: a container's first process is deaf to STOP and KILL."""

_SCRIPT = """
import os, signal, sys
from pathlib import Path

for folder in Path("/proc").glob("[0-9]*"):
    words = (folder / "cmdline").read_bytes().split(b"\\0")
    if {b"worker", b"scheduler"} & {*words} and int(folder.name) != os.getpid():
        os.kill(int(folder.name), signal.Signals["SIG" + sys.argv[1]])
        break
else:
    sys.exit("there is no Dask process")
"""


def send_signal(kube: Kube, pod: str, name: str) -> None:
    """Send a signal (`KILL`, `STOP`, `CONT`) to the worker or scheduler in a pod whose PodSpec has `SHARED`."""
    kube.exec(pod, "python3", "-c", _SCRIPT, name)
