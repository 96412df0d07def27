"""Results that take long, made once by one process at a time and never seen half-finished."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from integration.cluster.progress import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import IO

_PARTIAL = ".partial-"
_IN_USE_SECONDS = 600.0

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[str]) -> bool:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _wait_for_lock(file: IO[str]) -> None:
        while not _try_lock(file):  # its own way to wait gives up after 10 s
            time.sleep(0.2)

else:
    import fcntl

    def _try_lock(file: IO[str]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _wait_for_lock(file: IO[str]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold a lock that other processes on this machine wait for; it dies with its holder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        if not _try_lock(file):
            say(f"waiting for another process that holds {path}")
            _wait_for_lock(file)
        yield


def once(target: Path, make: Callable[[Path], object]) -> Path:
    """Return `target`, a file or folder, made first where it is missing.

    `make` gets a path of its own beside the target, in a fresh folder; what it leaves there is renamed into place,
    so a killed process leaves nothing that looks finished. What such a process did leave is swept up here.
    """
    if target.exists():
        return target
    with lock(target.parent / ".lock"):
        if target.exists():
            return target
        sweep(target.parent, f"{_PARTIAL}{target.name}-")
        partial = Path(tempfile.mkdtemp(prefix=f"{_PARTIAL}{target.name}-", dir=target.parent))
        try:
            make(partial / target.name)
            (partial / target.name).replace(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def sweep(folder: Path, prefix: str) -> None:
    """Remove what starts with `prefix` in a folder."""
    for entry in folder.glob(f"{prefix}*"):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def claim(file: Path, *, keep: int) -> bool:
    """Mark a result as used now, which keeps it for ten minutes at least; whether it was there.

    Of the files beside it with the same suffix, all but the `keep` most recently used ones are removed, and those that
    were claimed in these ten minutes: other processes may be about to read them.
    """
    with lock(file.parent / ".claims"):
        try:
            os.utime(file)
        except FileNotFoundError:
            return False
        used = {other: other.stat().st_mtime for other in file.parent.glob(f"*{file.suffix}")}
        for other in sorted(used, key=used.__getitem__, reverse=True)[keep:]:
            if used[other] < time.time() - _IN_USE_SECONDS:
                other.unlink()
    return True


def digest(*parts: str | bytes) -> str:
    """Twelve hexadecimal digits that name these inputs, in this order."""
    state = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8))
        state.update(data)
    return state.hexdigest()[:12]


def digest_files(root: Path, files: Iterable[Path]) -> str:
    """Name the contents, the relative names and the executable bits of files below `root`."""
    parts: list[str | bytes] = []
    for file in sorted(files):
        parts += [str(file.relative_to(root)), str(os.access(file, os.X_OK)), file.read_bytes()]
    return digest(*parts)
