"""The command of the preStop hook in worker pods."""

from __future__ import annotations

from importlib.resources import files

from dask_k8s_operator.domain.trouble import NO_HANDOVER


def prestop_command(grace_seconds: int) -> list[str]:
    """The exec command that retires the pod's own workers, see `dask_k8s_operator.hooks.retire_self`.

    Args:
        grace_seconds: how long the pod may take to end. The operator gets a fifth of that to do it, a minute at most.

    It needs a shell and a Python 3 called `python` or `python3` in the image. Python looks neither at the
    environment nor at the working directory for modules (`-I`): users' files may be named like standard ones.
    """
    # The kubelet replaces $(NAME) in a container's command and arguments, but in no hook.
    return ["/bin/sh", "-c", _SHELL, _SOURCE, f"{min(grace_seconds / 5, 60):g}"]


_SHELL = (
    # What the hook complains about is to be seen in the pod's status once the container has ended.
    "t=/dev/termination-log; [ -w $t ] && exec 2>$t; p=$(command -v python3 || command -v python) || "
    f'{{ echo "{NO_HANDOVER}the image has no python3 or python on its PATH" >&2; exit 1; }}; exec "$p" -I -c "$0" "$1"'
)


def _without_docstring(source: str) -> str:
    # By text, not by ast.unparse: its spelling differs between Python versions, and so would the manifests.
    return source.split('"""', 2)[2].lstrip()


_SOURCE = _without_docstring(files("dask_k8s_operator.hooks").joinpath("retire_self.py").read_text("utf-8"))
