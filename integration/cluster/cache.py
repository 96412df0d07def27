"""Results that take long, made once by one process at a time and never seen half-finished."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from integration.cluster.progress import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_PARTIAL = ".partial-"


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold a lock that other processes on this machine wait for; it dies with its holder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that holds {path}")
            fcntl.flock(file, fcntl.LOCK_EX)
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


def keep_newest(files: Iterable[Path], count: int) -> None:
    """Remove all but the `count` most recently changed files."""
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)[count:]:
        file.unlink(missing_ok=True)


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
