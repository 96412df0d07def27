"""What all containers of a namespace said, those of pods that are gone included, and what is written down of it."""

from __future__ import annotations

import contextlib
import heapq
import os
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOOK_SECONDS = 0.5
_TIME = "%Y-%m-%dT%H:%M:%S"


class LogKeeper:
    """Keeps the logs of a namespace's containers, which the kubelet removes with their pods.

    It gives each log file a second name (a hard link), so what is written later is kept, too, without being copied.
    """

    def __init__(self, pods: Path, namespace: str, kept: Path) -> None:
        """Keep logs.

        Args:
            pods: the kubelet's folder of logs (`podLogsDir`), `NAMESPACE_POD_UID/CONTAINER/N.log`.
            namespace: whose.
            kept: where to, on the same file system.
        """
        self._pods = pods
        self._namespace = namespace
        self._kept = kept
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._kept.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def since(self, begin: datetime) -> Iterator[str]:
        """All lines from a time on, in the order of their times, each with its pod."""
        return heapq.merge(*(_lines(file, begin) for file in sorted(self._kept.glob("*.log"))))

    def _run(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            for log in self._pods.glob(f"{self._namespace}_*/*/*.log"):
                container, (_, pod, uid) = log.parent.name, log.parent.parent.name.split("_")
                with contextlib.suppress(FileExistsError, FileNotFoundError):
                    os.link(log, self._kept / f"{pod}_{container}_{uid}_{log.name}")


def write(file: Path, *, title: str, keeper: LogKeeper, last: timedelta, diagnosis: str) -> None:
    """Write down what happened, what everybody said lately, and the state of the namespace.

    Args:
        file: where to.
        title: what happened.
        keeper: has the logs.
        last: how long "lately" is.
        diagnosis: the state, as `Kube.diagnosis` gives it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as text:
        text.write(f"{title}\n\n== what everybody said in the last {last.total_seconds():g} s\n")
        text.writelines(keeper.since(datetime.now(UTC) - last))
        text.write(f"\n{diagnosis}\n")


def _lines(file: Path, begin: datetime) -> Iterator[str]:
    """The lines of a log in the format of the Container Runtime Interface: time, stream, F or P, text."""
    pod, container, _ = file.name.split("_", 2)
    since = begin.astimezone(UTC).strftime(_TIME)
    with file.open(errors="replace") as log:
        for line in log:
            time, *_, text = line.split(" ", 3)
            if time >= since:
                yield f"{time[:23]} {pod}/{container}: {text}"
