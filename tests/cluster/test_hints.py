"""Commands that a person is told to type exist, and work where the README's commands were followed."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from integration.cluster import hints
from integration.cluster.paths import CLUSTER_VARIABLE, KUBECONFIG_VARIABLE

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _ordinary_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (CLUSTER_VARIABLE, KUBECONFIG_VARIABLE):
        monkeypatch.delenv(name, raising=False)


def test_a_command_is_quoted_as_a_shell_needs_it() -> None:
    assert hints.cluster("run", "sh", "-c", "echo $HOME") == ".venv/bin/nox -s cluster -- run sh -c 'echo $HOME'"
    assert hints.nox("demo") == ".venv/bin/nox -s demo"


def test_a_command_leads_to_the_cluster_that_this_process_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CLUSTER_VARIABLE, "chaos")
    monkeypatch.setenv(KUBECONFIG_VARIABLE, "/my config")
    command = ".venv/bin/nox -s cluster -- down"
    assert hints.cluster("down") == f"DASK_K8S_TEST_CLUSTER=chaos DASK_K8S_TEST_KUBECONFIG='/my config' {command}"
    monkeypatch.delenv(KUBECONFIG_VARIABLE)
    assert hints.cluster("down", kubeconfig=Path("/a")).endswith(" -- --kubeconfig=/a down")


def test_the_readme_puts_the_program_there() -> None:
    readme = (CHECKOUT / "README.md").read_text()
    assert f"python3 -m venv .venv && .venv/bin/pip install nox uv && {hints.NOX}" in readme


def test_each_session_that_is_named_is_one() -> None:
    assert _sessions_named() <= _sessions()
    assert {"cluster", "demo", "integration"} <= _sessions_named()


def test_no_module_is_named_for_a_person_to_run_by_python() -> None:
    """Docstrings and the noxfile may: there it works. What is printed is looked at, so f-strings, too."""
    for file in (CHECKOUT / "integration").rglob("*.py"):
        tree = ast.parse(file.read_text())
        docs = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, _DOCUMENTED)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in docs:
                assert "python -m integration.cluster" not in node.value, f"{file}:{node.lineno}"


_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _sessions() -> set[str]:
    tree = ast.parse((CHECKOUT / "noxfile.py").read_text())
    return {node.name.replace("_", "-") for node in tree.body if isinstance(node, ast.FunctionDef)}


def _sessions_named() -> set[str]:
    """The first arguments of `hints.nox(...)` wherever it is called."""
    named = set()
    for file in (CHECKOUT / "integration").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"nox", "hints.nox"}:
                [first, *_] = node.args
                assert isinstance(first, ast.Constant), f"{file}:{node.lineno}"
                named.add(str(first.value))
    return named
