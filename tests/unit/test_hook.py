"""The preStop hook as it stands in the manifest of every worker."""

from __future__ import annotations

import ast
from dataclasses import replace

import pytest

from dask_k8s_operator.domain.hook import prestop_command
from dask_k8s_operator.domain.manifests import WORKER_GRACE_SECONDS, worker_pod
from tests.unit.written import SHORTEST, cluster


def test_the_hook_is_python_without_its_explanation() -> None:
    """In the manifest of every worker, each byte counts; `tests/dask/test_hook.py` runs it."""
    shell, option, script, source, turn = prestop_command(WORKER_GRACE_SECONDS)
    assert (shell, option) == ("/bin/sh", "-c")
    assert len(script) < 400
    assert ast.get_docstring(ast.parse(source)) is None
    assert "retire_workers" in source
    assert len(source) < 4096
    assert turn == "60"


@pytest.mark.parametrize(("grace", "turn"), [(30, "6"), (300, "60"), (7200, "60"), (1, "0.2"), (0, "0")])
def test_the_operators_turn_is_a_part_of_the_grace_period(grace: int, turn: str) -> None:
    clusters = replace(cluster(SHORTEST), worker_template={"spec": {"terminationGracePeriodSeconds": grace}})
    (container,) = worker_pod(clusters, "w")["spec"]["containers"]
    assert container["lifecycle"]["preStop"]["exec"]["command"][-1] == turn
