"""The command of the preStop hook in worker pods."""

from __future__ import annotations

from importlib.resources import files


def prestop_command() -> list[str]:
    """The exec command that retires the pod's own workers, see `dask_k8s_operator.hooks.retire_self`.

    It needs a shell and a Python 3 called `python` or `python3` in the image. Python looks neither at the
    environment nor at the working directory for modules (`-I`): users' files may be named like standard ones.
    """
    # The kubelet replaces $(NAME) in a container's command and arguments, but in no hook.
    return ["sh", "-c", 'exec "$(command -v python3 || command -v python)" -I -c "$0"', _SOURCE]


def _without_docstring(source: str) -> str:
    # By text, not by ast.unparse: its spelling differs between Python versions, and so would the manifests.
    return source.split('"""', 2)[2].lstrip()


_SOURCE = _without_docstring(files("dask_k8s_operator.hooks").joinpath("retire_self.py").read_text("utf-8"))
