"""The demo over a provider that only takes notes."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from integration.cluster.paths import CLUSTER_VARIABLE, KUBECONFIG_VARIABLE
from integration.cluster.provider import ProviderError
from integration.demo import __main__ as demo
from tests.cluster.notes import Notes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

REPORT = {"lost_keys": 0}


class Provider(Notes):
    """One whose cluster others print about: on standard output, as the scenario and its kubectl do."""

    def __init__(self) -> None:
        super().__init__()
        self.status: int = 0
        self.report: object = REPORT
        self.is_running = False
        self.down_error: ProviderError | None = None
        self.command = self.scenario

    def scenario(self, command: Sequence[str]) -> int:
        [file] = [word.removeprefix("--report=") for word in command if word.startswith("--report=")]
        print("   0.1 s  the timeline")
        if self.report is not None:
            with open(file, "w") as opened:  # noqa: PTH123 (as the scenario gets it)
                json.dump(self.report, opened)
        return self.status

    def down(self) -> None:
        super().down()
        print("it is taken down")
        if self.down_error:
            raise self.down_error


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Provider:
    for name in (CLUSTER_VARIABLE, KUBECONFIG_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    provider = Provider()
    monkeypatch.setattr(demo, "select", lambda **_: provider)
    return provider


def run(*arguments: str) -> int:
    """Run it in this process, as its own main program does."""
    with pytest.raises(SystemExit) as ended:
        demo.main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def last_line(capsys: pytest.CaptureFixture[str]) -> object:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize("arguments", [(), ("--keep",)])
@pytest.mark.parametrize("status", [0, 1])
def test_the_last_line_is_the_report_and_the_exit_status_is_the_scenarios(
    provider: Provider, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], status: int
) -> None:
    provider.status = status
    assert run(*arguments) == status
    assert last_line(capsys) == REPORT


def test_it_is_the_last_line_also_where_the_cluster_would_not_go(
    provider: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    provider.down_error = ProviderError("it would not go")
    assert run() == 1
    assert last_line(capsys) == REPORT


def test_without_a_report_it_fails(provider: Provider, capsys: pytest.CaptureFixture[str]) -> None:
    provider.report, provider.status = None, 1
    assert run() == 1
    assert "lost_keys" not in capsys.readouterr().out


@pytest.mark.parametrize(("found_running", "down"), [(False, ["down"]), (True, [])])
def test_a_cluster_that_was_up_before_stays(provider: Provider, *, found_running: bool, down: list[str]) -> None:
    provider.is_running = found_running
    assert run() == 0
    assert provider.calls[:2] == ["up", "images"]
    assert provider.calls[3:] == down


@pytest.mark.usefixtures("provider")
def test_what_is_kept_can_be_looked_at_and_taken_away(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--keep") == 0
    said = capsys.readouterr().err
    inside = f".venv/bin/nox -s cluster -- run kubectl --namespace={demo.namespace()}"
    assert f"{inside} get clusters,pods\n" in said
    assert f"-- forward --namespace={demo.namespace()} example-dask-scheduler 8787\n" in said
    assert f"-- run kubectl delete namespace {demo.namespace()}\n" in said


def test_the_scenario_is_told_to_keep_what_it_made(provider: Provider) -> None:
    for arguments in ((), ("--keep",)):
        provider.calls.clear()
        run(*arguments)
        [(name, program, *rest)] = [call for call in provider.calls if isinstance(call, tuple)]
        assert (name, program) == ("run", sys.executable)
        assert ("--keep" in rest) is bool(arguments)
        assert ("down" in provider.calls) is not bool(arguments)


def test_each_cluster_of_each_checkout_has_a_namespace_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    names = set()
    for name in ("", "other"):
        monkeypatch.setenv(CLUSTER_VARIABLE, name)
        names.add(demo.namespace())
    assert len(names) == 2


def test_an_existing_cluster_is_named_in_the_hints(
    provider: Provider, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    del provider
    kubeconfig = tmp_path / "config"
    kubeconfig.touch()
    run("--keep", f"--kubeconfig={kubeconfig}")
    assert f".venv/bin/nox -s cluster -- --kubeconfig={kubeconfig} run kubectl" in capsys.readouterr().err
