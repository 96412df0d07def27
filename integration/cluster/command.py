"""Runs other programs, with errors that a person can act on."""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import TYPE_CHECKING

from integration.cluster.provider import ProviderError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_SYSTEM_PATH = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin")
_SHOWN_LINES = 25


def call(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> str:
    """Run a program to its end and return what it printed on standard output.

    Args:
        argv: the program and its arguments.
        cwd: the folder to run in.
        env: variables to add to the environment.
        timeout: seconds after which it is killed.

    Raises:
        ProviderError: it could not be started, failed or took too long; the message ends with its last lines.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env=environment(env),
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError as error:
        raise ProviderError(f"{error.filename} is missing; needed for: {shlex.join(words)}") from error
    except subprocess.TimeoutExpired as error:
        raise ProviderError(f"no end after {timeout:.0f} s: {shlex.join(words)}") from error
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-_SHOWN_LINES:])
        raise ProviderError(f"failed with status {done.returncode}: {shlex.join(words)}\n{last}")
    return done.stdout


def bound(argv: Sequence[str | Path], *namespaces: str) -> list[str]:
    """The command that runs another one which ends when this process does, even if that is killed.

    With it end all processes that it has started, and its mounts go. For root on Linux.

    Args:
        argv: the program and its arguments.
        namespaces: options of `unshare` for namespaces that it is to have besides, such as `--net`.
    """
    # Killing unshare's child, the first process of a PID namespace, kills all the others of that.
    isolated = ("unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", *namespaces, "--")
    return ["setpriv", "--pdeathsig=KILL", "--", *isolated, *map(str, argv)]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The process's environment, with the system folders that root's PATH lacks after a plain `su`."""
    path = os.environ.get("PATH", "").split(os.pathsep)
    path += [folder for folder in _SYSTEM_PATH if folder not in path]
    return {**os.environ, "PATH": os.pathsep.join(filter(None, path)), **(extra or {})}
