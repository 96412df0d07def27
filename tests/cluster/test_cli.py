"""The command line over a provider that only takes notes."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from integration.cluster import cli
from integration.cluster.paths import CLUSTER_VARIABLE, KUBECONFIG_VARIABLE
from integration.cluster.provider import ProviderError
from tests.cluster.notes import Notes


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Notes:
    provider = Notes()
    monkeypatch.setattr(cli, "select", lambda **_: provider)
    return provider


def invoke(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.main, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_up_brings_the_images_too_and_names_them(provider: Notes) -> None:
    status, _, said = invoke("up", "--yes")
    assert status == 0
    assert provider.calls == ["up", "images"]
    assert "localhost/operator:1" in said
    assert "localhost/dask:1" in said


def test_an_error_for_the_user_is_shown_without_a_traceback(provider: Notes) -> None:
    provider.error = ProviderError("buy more memory")
    status, _, said = invoke("up", "--yes")
    assert status == 1
    assert said.endswith("Error: buy more memory\n")
    assert "Traceback" not in said


@pytest.mark.parametrize(("running", "status", "word"), [(True, 0, "up"), (False, 1, "not up")])
def test_status_is_an_exit_status_too(provider: Notes, *, running: bool, status: int, word: str) -> None:
    provider.is_running = running
    assert invoke("status")[:2] == (status, f"notes: {word}\n")


def test_a_command_gets_its_own_options_and_gives_its_own_status(provider: Notes) -> None:
    assert invoke("run", "kubectl", "get", "pods", "-o", "wide", "--help")[0] == 42
    assert provider.calls == [("run", "kubectl", "get", "pods", "-o", "wide", "--help")]


def test_the_kubeconfig_is_all_that_is_printed_to_standard_output(provider: Notes) -> None:
    assert provider.name == "notes"
    assert invoke("kubeconfig")[:2] == (0, "/the/kubeconfig\n")


def test_load_and_down_reach_the_provider(provider: Notes) -> None:
    assert invoke("load", "localhost/x:1")[0] == 0
    assert invoke("down")[0] == 0
    assert provider.calls == [("load", "localhost/x:1"), "down"]


def test_help_names_every_command_and_variable() -> None:
    status, text, _ = invoke("--help")
    assert status == 0
    for word in ("up", "down", "status", "kubeconfig", "load", "run", KUBECONFIG_VARIABLE, CLUSTER_VARIABLE):
        assert word in text


def test_nothing_is_asked_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.ask(["install something"])
    assert "install something" in capsys.readouterr().err
