"""Which provider is taken, and what is said of the others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from integration.cluster import choice
from integration.cluster.local import Local
from integration.cluster.paths import KUBECONFIG_VARIABLE, Paths
from integration.cluster.provider import ProviderError, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

CAN = Verdict(usable=True, reason="it can")
CANNOT = Verdict(usable=False, reason="it can't")


class Machine:
    """Says which providers can be used, and whether a local node is there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.verdicts = {"existing": CAN, "k3s": CAN, "local": CAN}
        self.present = False
        for name in ("Existing", "K3s", "Local"):
            monkeypatch.setattr(getattr(choice, name), "verdict", lambda provider: self.verdicts[provider.name])
        monkeypatch.setattr(Local, "present", lambda _: self.present)
        monkeypatch.delenv(KUBECONFIG_VARIABLE, raising=False)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(checkout=tmp_path, key="key", prefix="prefix", state=tmp_path / "state", cache=tmp_path / "cache")


def said(capsys: pytest.CaptureFixture[str]) -> Sequence[str]:
    return capsys.readouterr().err.splitlines()


@pytest.mark.usefixtures("machine")
def test_k3s_comes_before_the_local_node(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    assert choice.select(paths=paths).name == "k3s"
    assert said(capsys) == [
        "existing: not taken: neither --kubeconfig nor DASK_K8S_TEST_KUBECONFIG asks for it",
        "k3s: taken: it can",
    ]


def test_the_local_node_is_taken_where_k3s_can_not_run(
    machine: Machine, paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.verdicts["k3s"] = CANNOT
    assert choice.select(paths=paths).name == "local"
    assert said(capsys)[1:] == ["k3s: not taken: it can't", "local: taken: it can"]


def test_a_local_node_that_is_there_is_taken_although_k3s_can_run(machine: Machine, paths: Paths) -> None:
    machine.present = True
    assert choice.select(paths=paths).name == "local"


@pytest.mark.usefixtures("machine")
def test_an_existing_cluster_is_taken_when_the_option_or_the_environment_asks(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choice.select(paths=paths, kubeconfig=Path("mine")).kubeconfig() == Path("mine")
    monkeypatch.setenv(KUBECONFIG_VARIABLE, "theirs")
    assert choice.select(paths=paths).kubeconfig() == Path("theirs")
    assert choice.select(paths=paths, kubeconfig=Path("mine")).kubeconfig() == Path("mine")


def test_nothing_else_is_taken_for_an_existing_cluster_that_does_not_answer(machine: Machine, paths: Paths) -> None:
    machine.verdicts["existing"] = CANNOT
    with pytest.raises(ProviderError, match="existing: it can't"):
        choice.select(paths=paths, kubeconfig=Path("mine"))


def test_no_provider_is_an_error_with_all_reasons(machine: Machine, paths: Paths) -> None:
    machine.verdicts |= {"k3s": CANNOT, "local": Verdict(usable=False, reason="it needs Linux")}
    with pytest.raises(ProviderError, match=r"k3s: it can't; local: it needs Linux"):
        choice.select(paths=paths)
