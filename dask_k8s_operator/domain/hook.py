"""The command of the preStop hook in worker pods."""

from __future__ import annotations

from importlib.resources import files

from dask_k8s_operator.domain.trouble import HANDOVER, NO_HANDOVER, TERMINATION_LOG


def prestop_command(grace_seconds: int) -> list[str]:
    """The exec command that retires the pod's own workers, see `dask_k8s_operator.hooks.retire_self`.

    Args:
        grace_seconds: how long the pod may take to end. The operator gets a fifth of that to do it, a minute at most.

    It needs `/bin/sh`. Where no Python is on the PATH, that of one of the pod's processes will do: a worker is one.
    Python looks neither at the environment nor at the working directory for modules (`-I`): users' files may be named
    like standard ones.
    """
    # The kubelet replaces $(NAME) in a container's command and arguments, but in no hook.
    return ["/bin/sh", "-c", _SHELL, _SOURCE, f"{min(grace_seconds / 5, 60):g}"]


_SHELL = (
    # What the hook complains about is to be seen in the pod's status once the container has ended. So is that it began:
    # where it isn't, there was no shell (`domain.trouble.handover_trouble`).
    f't={TERMINATION_LOG}; [ -w $t ] && exec 2>$t && echo "{HANDOVER}" >&2; '
    'p=$(command -v python3 || command -v python) && exec "$p" -I -c "$0" "$1"; '
    # Any process may be asked: what is no Python knows no such options, or no command 0. Its program is held open: the
    # process may end between the question and the start.
    "for e in /proc/[0-9]*/exe; do { "
    '/proc/self/fd/9 -I -c 0 >&2 && exec /proc/self/fd/9 -I -c "$0" "$1" 2>&8; } 8>&2 2>/dev/null 9<"$e"; done; '
    f'echo "{NO_HANDOVER}no python3 or python on the PATH, and no process is one" >&2; exit 1'
)


def _without_docstring(source: str) -> str:
    # By text, not by ast.unparse: its spelling differs between Python versions, and so would the manifests.
    return source.split('"""', 2)[2].lstrip()


_SOURCE = _without_docstring(files("dask_k8s_operator.hooks").joinpath("retire_self.py").read_text("utf-8"))
